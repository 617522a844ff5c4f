import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { runCommand } from '../../parts/command.ts'

/** A cluster lives for minutes. */
const VALID_DAYS = '2'

/** What a certificate says about its holder: the user name, and the group, of Kubernetes. */
export interface Identity {
  readonly commonName: string
  readonly organization?: string
}

/** A key and its certificate, as PEM files. */
export interface KeyPair {
  readonly keyFile: string
  readonly certFile: string
}

/** The certificate authority of one cluster, in a folder of its own. */
export class CertificateAuthority {
  readonly certFile: string
  readonly keyFile: string
  /** Signs the tokens of service accounts. */
  readonly serviceAccountKeyFile: string
  readonly #folder: string

  private constructor(folder: string) {
    this.#folder = folder
    this.certFile = join(folder, 'ca.crt')
    this.keyFile = join(folder, 'ca.key')
    this.serviceAccountKeyFile = join(folder, 'sa.key')
  }

  /** Makes a new authority in `folder`. */
  static async create(folder: string): Promise<CertificateAuthority> {
    await mkdir(folder, { recursive: true })
    const ca = new CertificateAuthority(folder)
    await makeKey(ca.keyFile)
    await makeKey(ca.serviceAccountKeyFile)
    const extensions = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,digitalSignature']
    const subject = ['-key', ca.keyFile, '-subj', '/CN=kubernetes', '-days', VALID_DAYS, '-out', ca.certFile]
    await runCommand(['openssl', 'req', '-x509', '-new', ...subject, ...extensions.flatMap(e => ['-addext', e])])
    return ca
  }

  /** The authority that `create()` made in `folder`. */
  static open(folder: string): CertificateAuthority {
    return new CertificateAuthority(folder)
  }

  /** @param altNames `DNS:…` and `IP:…`, of a server; a client has none. */
  async issue(name: string, identity: Identity, altNames: readonly string[] = []): Promise<KeyPair> {
    const file = (suffix: string) => join(this.#folder, `${name}.${suffix}`)
    const pair = { keyFile: file('key'), certFile: file('crt') }
    await makeKey(pair.keyFile)
    const { commonName, organization } = identity
    const subject = `${organization === undefined ? '' : `/O=${organization}`}/CN=${commonName}`
    await runCommand(['openssl', 'req', '-new', '-key', pair.keyFile, '-subj', subject, '-out', file('csr')])
    await writeFile(
      file('ext'),
      [
        'basicConstraints=CA:FALSE',
        'keyUsage=digitalSignature',
        `extendedKeyUsage=${altNames.length > 0 ? 'serverAuth' : 'clientAuth'}`,
        ...(altNames.length > 0 ? [`subjectAltName=${altNames.join(',')}`] : []),
      ].join('\n'),
    )
    const authority = ['-CA', this.certFile, '-CAkey', this.keyFile, '-days', VALID_DAYS, '-extfile', file('ext')]
    await runCommand(['openssl', 'x509', '-req', '-in', file('csr'), ...authority, '-out', pair.certFile])
    return pair
  }

  /** Writes a kubeconfig that needs no other file. */
  async writeKubeconfig(file: string, server: string, pair: KeyPair): Promise<void> {
    const data = async (path: string) => (await readFile(path)).toString('base64')
    const kubeconfig = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'e2e', cluster: { server, 'certificate-authority-data': await data(this.certFile) } }],
      users: [
        {
          name: 'user',
          user: {
            'client-certificate-data': await data(pair.certFile),
            'client-key-data': await data(pair.keyFile),
          },
        },
      ],
      contexts: [{ name: 'e2e', context: { cluster: 'e2e', user: 'user' } }],
      'current-context': 'e2e',
    }
    // JSON is YAML.
    await writeFile(file, JSON.stringify(kubeconfig), { mode: 0o600 })
  }
}

async function makeKey(file: string): Promise<void> {
  await runCommand(['openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', file])
}
