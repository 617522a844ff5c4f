import { copyFile, mkdtemp } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { runCommand } from '../../parts/command.ts'
import type { Command } from '../../parts/command.ts'
import { collectImages } from '../images.ts'
import { until } from '../until.ts'
import { makeBinFolder } from './bin-folder.ts'
import { adminKubeconfig, apiServerUrl, installControlPlane, startControlPlane } from './control-plane.ts'
import type { ClusterDescription, NodeDescription, ProxyMode } from './description.ts'
import { writeDescription } from './description.ts'
import { Machine, ipBatch, startHost } from './machine.ts'
import { OUTSIDE, cableBatch, hostBatch, nodeSpec, routerBatch } from './network.ts'
import { installNode, startNode } from './node.ts'

/** Not /tmp: overlays and a few hundred megabytes of images go there, and a /tmp in memory would carry neither. */
const STATE_PREFIX = '/var/tmp/tulle-e2e-'
const KUBECTL_MS = 60_000
const API_READY_MS = 300_000
const REGISTERED_MS = 300_000

export interface ClusterOptions {
  readonly nodes: number
  readonly proxyMode: ProxyMode
  /** Archives of further images that every node is to have. */
  readonly imageArchives: readonly string[]
  /** Hears what is being done. */
  readonly progress: (line: string) => void
}

/** A cluster that this process holds: it ends when `stop()` is called, or when this process ends in whatever way. */
export class Cluster implements AsyncDisposable {
  readonly description: ClusterDescription
  readonly #machine: Machine

  constructor(machine: Machine, description: ClusterDescription) {
    this.#machine = machine
    this.description = description
  }

  /** Where `NamespaceProvider.attach()` finds it. */
  get descriptionFile(): string {
    return join(this.description.stateFolder, 'cluster.json')
  }

  /** The administrator's. */
  get kubeconfigFile(): string {
    return adminKubeconfig(this.description)
  }

  /** The command that runs `command` on the host outside, with the cluster's programs in its PATH. */
  outsideCommand(command: Command): Command {
    const { env, outsidePid } = this.description
    const path = `PATH=${env['PATH'] ?? ''}`
    return ['nsenter', `--net=/proc/${outsidePid}/ns/net`, '--', 'env', path, ...command]
  }

  /** Runs kubectl as the administrator, on the host outside. @returns its stdout. @throws {CommandError} */
  async kubectl(args: readonly string[], options: { readonly stdin?: string; readonly timeoutMs?: number } = {}) {
    const command = this.outsideCommand(['kubectl', '--kubeconfig', this.kubeconfigFile, ...args])
    return await runCommand(command, { env: this.description.env, timeoutMs: KUBECTL_MS, ...options })
  }

  /** Ends every process of the cluster; returns when nothing of it is left. */
  async stop(): Promise<void> {
    await this.#machine.stop()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

/**
 * Brings a cluster up: control plane, nodes that are registered and have their pod prefixes, and no pod network.
 *
 * @throws {Error} saying what did not come up; nothing is left then.
 */
export async function startCluster({ nodes, proxyMode, imageArchives, progress }: ClusterOptions): Promise<Cluster> {
  await using undo = new AsyncDisposableStack()
  const stateFolder = await mkdtemp(STATE_PREFIX)
  const cgroup = basename(stateFolder)
  const machine = undo.use(await Machine.start(cgroup, stateFolder))
  progress(`its files are in ${stateFolder}`)
  const env = await makeBinFolder(join(stateFolder, 'bin'))
  await collectImages(join(stateFolder, 'images'))
  for (const archive of imageArchives) await copyFile(archive, join(stateFolder, 'images', basename(archive)))
  progress('programs and images are there')

  await ipBatch(machine.pid, routerBatch())
  const outsidePid = await startHost(machine.pid, join(stateFolder, 'outside.log'))
  await ipBatch(machine.pid, cableBatch('outside', OUTSIDE.lan, outsidePid))
  await ipBatch(outsidePid, hostBatch(OUTSIDE))

  const facts = { stateFolder, cgroup, proxyMode, env, machinePid: machine.pid, outsidePid }
  const { address4 } = nodeSpec(1)
  await installControlPlane(facts, address4)
  const indexes = Array.from({ length: nodes }, (_, position) => position + 1)
  for (const index of indexes) await installNode(facts, index, apiServerUrl(address4))
  const started: NodeDescription[] = []
  for (const index of indexes) started.push(await startNode(facts, index))
  const [first] = started
  if (first === undefined) throw new RangeError('a cluster has at least one node')
  await startControlPlane(facts, first)
  progress(`${nodes} nodes and the control plane are started`)

  const cluster = new Cluster(machine, { ...facts, nodes: started })
  await writeDescription(cluster.descriptionFile, cluster.description)
  await until('the API server', async () => (await cluster.kubectl(['get', '--raw=/readyz'])) === 'ok', API_READY_MS)
  progress('the API server is ready')
  const subject = ['--clusterrole=system:node-proxier', '--user=system:kube-proxy']
  await cluster.kubectl(['create', 'clusterrolebinding', 'kube-proxy', ...subject])
  for (const node of started) {
    const podPrefixes = await until(
      `the pod prefixes of ${node.name}`,
      async () =>
        (await cluster.kubectl(['get', 'node', node.name, '-o', 'jsonpath={.spec.podCIDRs[*]}'])) || undefined,
      REGISTERED_MS,
    )
    progress(`${node.name} is registered with ${podPrefixes}`)
  }
  undo.move()
  return cluster
}
