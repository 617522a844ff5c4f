import { rm, writeFile, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Command } from '../../parts/command.ts'
import { runCommand } from '../../parts/command.ts'
import type { ClusterNode, ClusterProvider, NodeService } from '../provider.ts'
import { until } from '../until.ts'
import { adminKubeconfig, apiServerUrl, controlPlaneFolder } from './control-plane.ts'
import { readDescription, writeDescription } from './description.ts'
import type { ClusterDescription, NodeDescription } from './description.ts'
import { OUTSIDE } from './network.ts'
import { discardNode, execOnNode, installNode, killNode, nodeFolder, startNode } from './node.ts'

const RESTART_MS = 90_000

/**
 * The machines behind a cluster in namespaces that another process holds.
 *
 * Every method reads the description anew: another test may have rebooted a node.
 */
export class NamespaceProvider implements ClusterProvider {
  readonly kubeconfigFile: string
  readonly outsideAddresses = [OUTSIDE.address4, OUTSIDE.address6] as const
  readonly #file: string

  constructor(descriptionFile: string, { stateFolder }: Pick<ClusterDescription, 'stateFolder'>) {
    this.#file = descriptionFile
    this.kubeconfigFile = adminKubeconfig({ stateFolder })
  }

  /** @param descriptionFile of a cluster that runs. */
  static async attach(descriptionFile: string): Promise<NamespaceProvider> {
    return new NamespaceProvider(descriptionFile, await readDescription(descriptionFile))
  }

  async nodes(): Promise<readonly ClusterNode[]> {
    return (await this.#read()).nodes
  }

  async exec(nodeName: string, command: Command, timeoutMs?: number): Promise<string> {
    const description = await this.#read()
    const options = { command, ...(timeoutMs === undefined ? {} : { timeoutMs }) }
    return await execOnNode(description, nodeOf(description, nodeName), options)
  }

  async addNode(): Promise<ClusterNode> {
    const description = await this.#read()
    const index = Math.max(...description.nodes.map(node => node.index)) + 1
    await installNode(description, index, apiServerUrl(controlPlaneAddress(description)))
    const node = await startNode(description, index)
    await writeDescription(this.#file, { ...description, nodes: [...description.nodes, node] })
    return node
  }

  async removeNode(nodeName: string): Promise<void> {
    const description = await this.#read()
    const node = workerOf(description, nodeName)
    await killNode(description, node)
    await discardNode(description, node.index)
    await writeDescription(this.#file, { ...description, nodes: description.nodes.filter(each => each !== node) })
  }

  async rebootNode(nodeName: string): Promise<void> {
    const description = await this.#read()
    const node = workerOf(description, nodeName)
    await killNode(description, node)
    const started = await startNode(description, node.index)
    const nodes = description.nodes.map(each => (each === node ? started : each))
    await writeDescription(this.#file, { ...description, nodes })
  }

  async restartService(nodeName: string, service: NodeService): Promise<void> {
    const description = await this.#read()
    const node = nodeOf(description, nodeName)
    const file = join(nodeFolder(description, node.index), 'pids', service)
    const before = (await readFile(file, 'utf8')).trim()
    await execOnNode(description, node, { command: ['kill', '-KILL', before] })
    await until(
      `${service} to run again on ${nodeName}`,
      async () => (await readFile(file, 'utf8')).trim() !== before,
      RESTART_MS,
    )
  }

  /** A node has no rules but those of the cluster. */
  keepOwnRules(): Promise<() => Promise<void>> {
    return Promise.resolve(async () => {})
  }

  async stopApiServer(): Promise<void> {
    const description = await this.#read()
    const folder = controlPlaneFolder(description)
    await writeFile(join(folder, 'down', API_SERVER), '')
    const pid = (await readFile(join(folder, 'pids', API_SERVER), 'utf8')).trim()
    // Its number is that of the machine's pid namespace.
    const pidNamespace = `--pid=/proc/${description.machinePid}/ns/pid`
    await runCommand(['nsenter', pidNamespace, '--', 'kill', '-KILL', pid])
    await until('the end of the API server', async () => !(await hasFile(join(folder, 'pids', API_SERVER))))
  }

  async startApiServer(): Promise<void> {
    const folder = controlPlaneFolder(await this.#read())
    await rm(join(folder, 'down', API_SERVER), { force: true })
    await until('the API server to run', async () => await hasFile(join(folder, 'pids', API_SERVER)))
  }

  async #read(): Promise<ClusterDescription> {
    return await readDescription(this.#file)
  }
}

const API_SERVER = 'kube-apiserver'

function nodeOf({ nodes }: ClusterDescription, name: string): NodeDescription {
  const node = nodes.find(each => each.name === name)
  if (node === undefined) throw new Error(`no node ${name}: want one of ${nodes.map(each => each.name).join(', ')}`)
  return node
}

/** The first node's network is that of the control plane: it has to stay. */
function workerOf(description: ClusterDescription, name: string): NodeDescription {
  const node = nodeOf(description, name)
  if (node === description.nodes[0]) throw new Error(`${name} carries the control plane: take another node`)
  return node
}

function controlPlaneAddress({ nodes }: ClusterDescription): string {
  const address = nodes[0]?.addresses[0]
  if (address === undefined) throw new Error('the cluster has no first node')
  return address
}

async function hasFile(path: string): Promise<boolean> {
  return await readFile(path).then(
    () => true,
    (cause: unknown) => {
      if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return false
      throw cause
    },
  )
}
