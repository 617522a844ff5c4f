import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { kill } from 'node:process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { runCommand } from '../../parts/command.ts'
import type { Command } from '../../parts/command.ts'
import { PAUSE_IMAGE } from '../../cri/harness/pause-image.ts'
import { until } from '../until.ts'
import type { ClusterDescription, NodeDescription } from './description.ts'
import { ipBatch, startDetached } from './machine.ts'
import { cableBatch, hostBatch, nodeSpec } from './network.ts'
import { containerdConfig, kubeProxyConfig, kubeletConfig, kubeletFlags } from './node-files.ts'
import { CertificateAuthority } from './pki.ts'
import { isInit, isRunning, onlyChildOf } from './processes.ts'

const NAMESPACES = ['--net', '--mount', '--uts', '--ipc', '--pid', '--cgroup', '--fork', '--kill-child', '--mount-proc']
const EXEC_MS = 60_000
const DIE_MS = 90_000

/** What a node shares with the others. */
export type ClusterFacts = Pick<ClusterDescription, 'stateFolder' | 'cgroup' | 'proxyMode' | 'env' | 'machinePid'>

/** Where node number `index` keeps its disk. */
export function nodeFolder({ stateFolder }: ClusterFacts, index: number): string {
  return join(stateFolder, nodeSpec(index).name)
}

/** Writes certificates and configuration of a node that never ran. @param server the API server's URL. */
export async function installNode(facts: ClusterFacts, index: number, server: string): Promise<void> {
  const spec = nodeSpec(index)
  const folder = nodeFolder(facts, index)
  const file = (name: string) => join(folder, name)
  await mkdir(join(folder, 'logs'), { recursive: true })
  const ca = CertificateAuthority.open(join(facts.stateFolder, 'pki'))
  const identity = { commonName: `system:node:${spec.name}`, organization: 'system:nodes' }
  const client = await ca.issue(`kubelet-${spec.name}`, identity)
  const altNames = [`DNS:${spec.name}`, `IP:${spec.address4}`, `IP:${spec.address6}`]
  const serving = await ca.issue(`kubelet-serving-${spec.name}`, identity, altNames)
  await ca.writeKubeconfig(file('kubelet.kubeconfig'), server, client)
  const proxy = await ca.issue(`kube-proxy-${spec.name}`, { commonName: 'system:kube-proxy' })
  await ca.writeKubeconfig(file('kube-proxy.kubeconfig'), server, proxy)
  await writeFile(file('containerd.toml'), containerdConfig(PAUSE_IMAGE))
  await writeFile(file('kubelet.json'), kubeletConfig(ca.certFile, serving))
  await writeFile(file('kubelet.flags'), `${kubeletFlags(spec, folder).join('\n')}\n`)
  await writeFile(file('kube-proxy.json'), kubeProxyConfig(file('kube-proxy.kubeconfig'), facts.proxyMode))
  await runCommand(['mkfifo', file('cable')])
}

/**
 * Powers a node on: new namespaces, a cable into its link, then its daemons start by themselves.
 *
 * @throws {Error} with what its process 1 said, when that does not come up.
 */
export async function startNode(facts: ClusterFacts, index: number): Promise<NodeDescription> {
  try {
    return await powerOn(facts, index)
  } catch (cause) {
    const log = await readFile(join(nodeFolder(facts, index), 'logs', 'init.log'), 'utf8')
    throw new Error(`${nodeSpec(index).name} does not start: ${String(cause)}\n${log}`, { cause })
  }
}

async function powerOn(facts: ClusterFacts, index: number): Promise<NodeDescription> {
  const spec = nodeSpec(index)
  const folder = nodeFolder(facts, index)
  const init: Command = ['bash', script('node-init.sh'), spec.name, folder, join(facts.stateFolder, 'images')]
  const nsenterPid = await startDetached(
    { machinePid: facts.machinePid },
    ['bash', script('node-launch.sh'), `${facts.cgroup}/${spec.name}`, 'unshare', ...NAMESPACES, ...init],
    { env: facts.env, logFile: join(folder, 'logs', 'init.log') },
  )
  const initPid = await until(`process 1 of ${spec.name}`, async () => {
    const unsharePid = await onlyChildOf(nsenterPid)
    const pid = unsharePid === undefined ? undefined : await onlyChildOf(unsharePid)
    // Before it becomes unshare, node-launch.sh has other children.
    return pid !== undefined && (await isInit(pid)) ? pid : undefined
  })
  await ipBatch(facts.machinePid, cableBatch(spec.name, spec.lan, initPid))
  await ipBatch(initPid, hostBatch(spec))
  // node-init.sh waits for this. A FIFO that nobody opens would block a thread for ever, hence another process.
  await promisify(execFile)('bash', ['-c', 'echo plugged-in >"$1"', 'bash', join(folder, 'cable')], {
    timeout: EXEC_MS,
  })
  return { index, name: spec.name, addresses: [spec.address4, spec.address6], initPid }
}

/** Kills every process of the node at once; its namespaces and its cgroups go with them. */
export async function killNode({ cgroup }: ClusterFacts, { initPid, name }: NodeDescription): Promise<void> {
  kill(initPid, 'SIGKILL')
  await until(`the end of ${name}`, async () => !(await isRunning(initPid)), DIE_MS)
  // A machine that starts has no cgroups of before: for each of them kubelet would wait three seconds.
  await until(`the end of the cgroups of ${name}`, async () => isRemoved(`${cgroup}/${name}`), DIE_MS)
}

/** Removes a cgroup from every v1 hierarchy, with those below it. False while one is busy: its last process is still ending. */
async function isRemoved(cgroup: string): Promise<boolean> {
  const hierarchies = (await readdir('/sys/fs/cgroup')).map(hierarchy => `/sys/fs/cgroup/${hierarchy}/${cgroup}`)
  const left = hierarchies.filter(path => existsSync(path))
  if (left.length === 0) return true
  await runCommand(['find', ...left, '-depth', '-type', 'd', '-delete'])
  return true
}

/** Throws a dead node's disk away. */
export async function discardNode(facts: ClusterFacts, index: number): Promise<void> {
  await rm(nodeFolder(facts, index), { recursive: true, force: true })
}

/** Runs a command on the node as if typed there. @throws {CommandError} as `runCommand()`. */
export async function execOnNode(
  facts: ClusterFacts,
  { initPid }: NodeDescription,
  { command, timeoutMs = EXEC_MS }: { readonly command: Command; readonly timeoutMs?: number },
): Promise<string> {
  const spaces = ['--mount', '--net', '--uts', '--ipc', '--pid', '--cgroup']
  return await runCommand(['nsenter', `--target=${initPid}`, ...spaces, '--wdns=/', '--', ...command], {
    env: facts.env,
    timeoutMs,
  })
}

function script(name: string): string {
  return join(import.meta.dirname, name)
}
