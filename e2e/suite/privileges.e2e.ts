// What Tulle's containers may do on a node: what docs/security.md says, and no more.
import t from 'tap'
import { runningContainers } from './harness/containers.ts'
import { Daemons } from './harness/daemons.ts'
import type { Daemon } from './harness/daemons.ts'
import { setUp } from './harness/setting.ts'

/** Numbers of capabilities(7). */
const CAPABILITIES = { 1: 'DAC_OVERRIDE', 12: 'NET_ADMIN', 19: 'SYS_PTRACE', 21: 'SYS_ADMIN' } as const

/** A process has these and no others, in every set. */
const WANTED: Readonly<Record<Daemon, readonly string[]>> = {
  ipamd: ['NET_ADMIN', 'SYS_PTRACE', 'SYS_ADMIN'],
  agent: ['DAC_OVERRIDE', 'NET_ADMIN'],
}

/** What every container has: devices of its own, its processes, and a folder in memory that holds its cgroups. */
const OF_ANY_CONTAINER = /^\/(?:dev|proc|sys\/fs\/cgroup)(?:\/|$)/
/** Namespaces of pods, which are no files to write to. */
const NAMESPACE = /^\/run\/netns\/./

/** What a daemon may write to, as it sees it. */
const WRITABLE: Readonly<Record<Daemon, readonly string[]>> = {
  ipamd: ['/etc/hosts', '/host/proc/sys/net', '/run/tulle', '/var/lib/tulle'],
  agent: ['/etc/hosts', '/host/cni-bin', '/host/cni-conf', '/run/tulle'],
}

const { provider, nodeNames } = await setUp()
const [nodeName = ''] = nodeNames
const daemons = new Daemons(provider)

for (const daemon of ['ipamd', 'agent'] as const) {
  t.test(`${daemon} has the capabilities that it uses, a filter of system calls, and can gain nothing`, async t => {
    const status = await inProcess(daemon, 'cat /proc/$pid/status')
    t.strictSame(capabilitiesOf(status, 'CapBnd'), WANTED[daemon], 'what it could ever have')
    t.strictSame(capabilitiesOf(status, 'CapEff'), WANTED[daemon], 'what it has')
    t.match(status, /^NoNewPrivs:\t1$/m)
    t.match(status, /^Seccomp:\t2$/m, 'a filter is in place')
  })

  t.test(`${daemon} writes to its own folders and nowhere else`, async t => {
    const mounts = await inProcess(daemon, 'cat /proc/$pid/mountinfo')
    const writable = mounts
      .split('\n')
      .map(line => line.split(' '))
      .filter(([, , , , , options]) => options?.split(',').includes('rw') === true)
      .map(([, , , , place = '']) => place)
      .filter(place => !OF_ANY_CONTAINER.test(place) && !NAMESPACE.test(place))
    t.strictSame(writable.toSorted(), WRITABLE[daemon], 'of what is mounted')
    await t.rejects(inProcess(daemon, 'touch /proc/$pid/root/file'), /Read-only file system/)
  })
}

t.test('ipamd has no credentials of the cluster', async t => {
  t.notMatch(await inProcess('ipamd', 'cat /proc/$pid/mountinfo'), /serviceaccount/)
  t.match(await inProcess('agent', 'cat /proc/$pid/mountinfo'), /serviceaccount/, 'where the agent has some')
})

/** Runs a script on the node, with the number of a daemon's process in `$pid`. @returns its output. */
async function inProcess(daemon: Daemon, script: string): Promise<string> {
  const podName = await daemons.podNameOn(nodeName)
  const [id = ''] = await runningContainers(provider, nodeName, { podName, containerName: daemon })
  const findPid = `pid=$(ctr --namespace k8s.io tasks list | awk -v id="$0" '$1 == id { print $2 }')`
  return await provider.exec(nodeName, ['bash', '-euc', `${findPid}; ${script}`, id])
}

/** The names of the capabilities in a set of /proc/PID/status; the number of one that is not known here. */
function capabilitiesOf(status: string, set: string): readonly string[] {
  const mask = BigInt(`0x${new RegExp(`^${set}:\\t([0-9a-f]+)$`, 'm').exec(status)?.[1] ?? 'none'}`)
  const names: Readonly<Record<number, string>> = CAPABILITIES
  return Array.from({ length: 64 }, (_, bit) => bit)
    .filter(bit => (mask & (1n << BigInt(bit))) !== 0n)
    .map(bit => names[bit] ?? String(bit))
}
