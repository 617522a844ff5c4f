import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CommandError, execute, runCommand } from '../parts/command.ts'
import type { PrivateDocker } from './docker.ts'
import { KindCluster, NODE_IMAGE } from './kind-cluster.ts'
import { kindTool } from './kind-parts.ts'
import { kindNodeArchive } from './node-image.ts'

/** What users have: the cluster is made of this file. */
const CONFIG_FILE = join(import.meta.dirname, '..', '..', 'kind-config.yaml')
const IMPORT_MS = 300_000
const CREATE_MS = 900_000

/**
 * What this machine's kernel and rights ask for, beside the file that users have: a kubelet that accepts cgroup v1, and nobody
 * who lowers an OOM score, which takes CAP_SYS_RESOURCE. And no election where there is one of each: who cannot renew a lease in
 * ten seconds, as on a busy machine, ends. All is harmless elsewhere.
 */
const PATCHES = `
kubeadmConfigPatches:
  - |
    kind: ClusterConfiguration
    controllerManager:
      extraArgs:
        - name: enable-hostpath-provisioner
          value: "true"
        - name: leader-elect
          value: "false"
    scheduler:
      extraArgs:
        - name: leader-elect
          value: "false"
  - |
    kind: KubeletConfiguration
    failCgroupV1: false
    oomScoreAdj: 0
  - |
    kind: KubeProxyConfiguration
    oomScoreAdj: 0
`

/** A cluster, the arguments with which kind made it, and what kind said. */
export interface CreatedCluster {
  readonly cluster: KindCluster
  readonly arguments: readonly string[]
  readonly said: string
}

/**
 * Makes a cluster with the repository's kind-config.yaml, of nodes that are not Ready: nothing gives them a network yet.
 *
 * @param folder of this run's own, for its configuration.
 * @throws {CommandError} with kind's words.
 */
export async function createKindCluster(docker: PrivateDocker, folder: string): Promise<CreatedCluster> {
  await mkdir(folder, { recursive: true })
  const changes = [
    'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]',
    'ENV container=docker',
    'STOPSIGNAL SIGRTMIN+3',
  ]
  const archive = await kindNodeArchive()
  await docker.docker(['import', ...changes.flatMap(change => ['--change', change]), archive, NODE_IMAGE], IMPORT_MS)
  const kind = await kindTool()
  const config = join(folder, 'kind-config.yaml')
  await writeFile(config, (await readFile(CONFIG_FILE, 'utf8')) + PATCHES)
  const kubeconfigFile = join(folder, 'kubeconfig')
  // A node is not Ready before it has a network: waiting for that would be in vain.
  const place = ['--config', config, '--image', NODE_IMAGE, '--kubeconfig', kubeconfigFile]
  const create = ['create', 'cluster', ...place, '--wait', '0s']
  const outcome = await execute([kind, ...create], { env: docker.env, timeoutMs: CREATE_MS })
  if (outcome.exitCode !== 0) throw new CommandError([kind, ...create], outcome)
  const outsideAddresses = await addressesOfBridge(docker)
  const facts = { env: docker.ownEnv, kind, kubeconfigFile, outsideAddresses, imageArchives: [] }
  return { cluster: new KindCluster({ provider: 'kind', ...facts }), arguments: create, said: outcome.stderr }
}

/** The addresses of this host on the bridge that the nodes are on: dockerd names a gateway for IPv4 alone. */
async function addressesOfBridge(docker: PrivateDocker): Promise<readonly string[]> {
  const id = (await docker.docker(['network', 'inspect', 'kind', '--format', '{{.Id}}'])).trim()
  const text = await runCommand(['ip', '-json', 'address', 'show', 'dev', `br-${id.slice(0, 12)}`])
  const [link] = JSON.parse(text) as readonly { readonly addr_info: readonly LinkAddress[] }[]
  if (link === undefined) throw new Error('the bridge of the network kind has no address')
  // Not by an argument of ip: of an address that is left out so, its JSON has an empty object.
  return link.addr_info.filter(({ scope }) => scope === 'global').map(({ local }) => local)
}

interface LinkAddress {
  readonly local: string
  readonly scope: string
}
