import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Fields } from '../ipam/fields.ts'
import { ParseError } from '../net/parse-error.ts'

/** Where the API server is, and as whom to talk to it. */
export interface ServerAccess {
  readonly url: URL
  /** Certificates of the authorities that may have signed the server's, PEM; those that Node knows when absent. */
  readonly ca?: string
  readonly client?: { readonly cert: string; readonly key: string }
  /** Asked before each request: tokens of service accounts are replaced while the program runs. */
  readonly token?: () => string
}

/** Where Kubernetes puts what a container needs. */
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'

/**
 * The access that Kubernetes gives a container: the environment names the server, a folder has the token and the authority.
 *
 * @throws {ParseError} when this is no container of a pod.
 */
export function inClusterAccess(
  env: Readonly<Record<string, string | undefined>>,
  folder: string = SERVICE_ACCOUNT,
): ServerAccess {
  const host = env['KUBERNETES_SERVICE_HOST']
  const port = env['KUBERNETES_SERVICE_PORT'] ?? '443'
  if (host === undefined || host === '') {
    throw new ParseError('KUBERNETES_SERVICE_HOST: missing: want to run in a pod, or kube.server, or kube.kubeconfig')
  }
  return {
    url: new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`),
    ca: readFileSync(join(folder, 'ca.crt'), 'utf8'),
    token: () => readFileSync(join(folder, 'token'), 'utf8').trim(),
  }
}

/**
 * The access of the current context of a kubeconfig in JSON (`kubectl config view --raw -o json`, with `--flatten`).
 *
 * @throws {ParseError} when it is no JSON, names no server, or wants a program to be run for its credentials.
 */
export function kubeconfigAccess(text: string): ServerAccess {
  const config = Fields.of(parseJson(text), 'kubeconfig')
  const current = config.string('current-context')
  const context = named(config, { list: 'contexts', name: current, member: 'context' })
  const cluster = named(config, { list: 'clusters', name: context.string('cluster'), member: 'cluster' })
  const user = named(config, { list: 'users', name: context.string('user'), member: 'user' })
  if (user.optionalObject('exec') !== undefined)
    throw new ParseError('kubeconfig: credentials from a program are not supported: want a token or a certificate')
  const ca = inline(cluster, 'certificate-authority')
  const cert = inline(user, 'client-certificate')
  const key = inline(user, 'client-key')
  const token = user.optionalString('token')
  return {
    url: parseServer(cluster.string('server')),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { client: { cert, key } }),
    ...(token === undefined ? {} : { token: () => token }),
  }
}

/** @throws {ParseError} unless it is the address of an HTTP or HTTPS server. */
export function parseServer(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url !== undefined && (url.protocol === 'https:' || url.protocol === 'http:')) return url
  throw new ParseError(`${JSON.stringify(text)}: want the address of the API server, https://HOST:PORT`)
}

function named(
  config: Fields,
  { list, name, member }: { readonly list: string; readonly name: string; readonly member: string },
): Fields {
  const found = config.list(list, (item, path) => Fields.of(item, path)).find(item => item.string('name') === name)
  if (found === undefined) throw new ParseError(`kubeconfig.${list}: want one called ${JSON.stringify(name)}`)
  return found.object(member)
}

/** What is in the document as base64 (`…-data`), or in a file that it names. */
function inline(fields: Fields, key: string): string | undefined {
  const data = fields.optionalString(`${key}-data`)
  if (data !== undefined) return Buffer.from(data, 'base64').toString('utf8')
  const path = fields.optionalString(key)
  return path === undefined ? undefined : readFileSync(path, 'utf8')
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new ParseError('kubeconfig: not JSON: want the output of kubectl config view --raw --flatten -o json', {
      cause,
    })
  }
}
