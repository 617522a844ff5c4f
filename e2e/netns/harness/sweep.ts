import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import { debianParts } from '../../parts/debian.ts'
import { keepUp } from './bridge.ts'
import type { JsonObject } from './json.ts'
import { Netns } from './namespace.ts'
import { type ChainOutcome, CniRuntime, newAttachment, type RuntimeAttachment } from './runtime.ts'
import { BIN_FOLDER } from './tulle.ts'
import { TulleNode } from './tulle-node.ts'

/** Who leases during a sweep. */
export type Source = 'ipamd' | 'host-local'

/** What ADD does that others can see, by the system call that does it. */
export const EFFECTS = [
  // Every netlink message, of rtnetlink and of nf_tables, whether it asks or changes.
  { name: 'message to the kernel', syscall: 'sendto', atLeast: 10 },
  { name: 'setting', syscall: 'pwrite64', atLeast: 4 },
] as const

interface Wiring {
  readonly name: string
  readonly source: Source
  readonly plugin: Pick<SweepOptions, 'plugin'>
  readonly effects: readonly (typeof EFFECTS)[number][]
}

/** How pods are wired in a sweep, and who leases. */
export const WIRINGS: readonly Wiring[] = [
  { name: 'ipamd', source: 'ipamd', plugin: {}, effects: EFFECTS },
  { name: 'host-local', source: 'host-local', plugin: {}, effects: EFFECTS },
  {
    name: 'ipamd, with limits',
    source: 'ipamd',
    plugin: { plugin: { ingressRate: 10_000_000, egressRate: 10_000_000 } },
    effects: EFFECTS.slice(0, 1),
  },
  {
    name: 'ipamd, on a bridge',
    source: 'ipamd',
    plugin: { plugin: { mode: 'bridge', isDefaultGateway: true, hairpinMode: true, macspoofchk: true } },
    // Its settings are all the pod's, each written by a thread of its own: strace counts for each thread, and would reach the
    // first of them alone.
    effects: EFFECTS.slice(0, 1),
  },
]

/** One ADD with a fault in it. */
export interface Round {
  /** Which of the system calls goes wrong, from 1. */
  readonly number: number
  readonly attachment: RuntimeAttachment
  readonly outcome: ChainOutcome
  /** A runtime whose plugins run without faults. */
  readonly runtime: CniRuntime
}

export interface SweepOptions {
  /** An empty folder. */
  readonly folder: string
  readonly source: Source
  /** Further keys of our plugin configuration object. Those of bridge mode name no other bridge than the default. */
  readonly plugin?: JsonObject
  readonly effect: (typeof EFFECTS)[number]
  /** What happens to the system call, in strace's words: `error=ENOBUFS`, `signal=KILL`. */
  readonly fault: string
  /** Ports of the node that lead to the pod; none when absent. */
  readonly portMappings?: readonly JsonObject[]
}

/**
 * Runs ADD again and again with the first, the second, … of its system calls going wrong, until there is none left to go
 * wrong. `judge` looks at each, and cleans up where cleaning up is not ADD's own to do: after it, the node, the pod, ipamd
 * and host-local have to be as they were before.
 */
export async function sweep(t: Test, options: SweepOptions, judge: (round: Round) => Promise<void>): Promise<void> {
  const { folder, source, effect, fault } = options
  const debianPath = join(await debianParts(['containernetworking-plugins']), 'usr/lib/cni')
  const dataFolder = join(folder, 'host-local')
  const log = join(folder, 'strace.log')
  const faulty = await makeWrapper(folder, log)
  const runtimeWith = (cniPath: string, env: Readonly<Record<string, string>>): CniRuntime =>
    new CniRuntime({
      conflist: {
        cniVersion: '1.0.0',
        name: 'pods',
        plugins: [
          { type: 'tulle', capabilities: { portMappings: true }, ...options.plugin, ipam: ipamOf(source, dataFolder) },
        ],
      },
      cniPath: [cniPath, debianPath],
      env: { PATH: process.env['PATH'] ?? '', ...env },
    })

  await using node = await TulleNode.start()
  await using pod = await Netns.create('pod', { isLoopbackUp: true })
  const capabilities = { portMappings: options.portMappings ?? [] }
  await attachAndDetach(runtimeWith(BIN_FOLDER, {}), capabilities)
  await using _kept = options.plugin?.['mode'] === 'bridge' ? await keepUp('cni0') : undefined
  const state = async (): Promise<string> =>
    [await node.snapshot(), await stateOf(pod), await addressesIn(dataFolder, node)].join('\n')
  const before = await state()
  for (let number = 1; ; number++) {
    const runtime = runtimeWith(BIN_FOLDER, {})
    const attachment = { ...newAttachment(pod), capabilities }
    const outcome = await runtimeWith(faulty, { SYSCALL: effect.syscall, FAULT: `${fault}:when=${number}` }).add(
      attachment,
    )
    const said = await readFile(log, 'utf8')
    const isFaulty = said.includes('(INJECTED)') || said.includes('killed by SIGKILL')
    if (isFaulty) await judge({ number, attachment, outcome, runtime })
    else t.equal((await runtime.del(attachment)).exitCode, 0, 'DEL of the one that nothing went wrong with')
    t.equal(await state(), before, `${number}: everything is as before`)
    if (isFaulty) continue
    t.ok(number > effect.atLeast, `${number - 1} of them went wrong`)
    return
  }
}

/** A folder with a `tulle` that does the work itself, under strace, as SYSCALL and FAULT say. */
async function makeWrapper(folder: string, log: string): Promise<string> {
  const wrapped = join(folder, 'faulty')
  await mkdir(wrapped)
  const command = `strace -f -qq -o ${log} -e "trace=$SYSCALL" -e "inject=$SYSCALL:$FAULT" ${BIN_FOLDER}/tulle-node`
  await writeFile(join(wrapped, 'tulle'), `#!/bin/sh\nexec ${command}\n`)
  await chmod(join(wrapped, 'tulle'), 0o755)
  return wrapped
}

function ipamOf(source: Source, dataDir: string): JsonObject {
  if (source === 'ipamd') return { type: 'tulle-ipam' }
  return { type: 'host-local', dataDir, ranges: [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:10:88::/64' }]] }
}

/** Puts the node where each round starts: a pod has come and gone. */
async function attachAndDetach(runtime: CniRuntime, capabilities: JsonObject): Promise<void> {
  await using pod = await Netns.create('pod')
  const attachment = { ...newAttachment(pod), capabilities }
  const added = await runtime.add(attachment)
  if (added.exitCode !== 0) throw new Error(`ADD: ${added.stdout}`)
  await runtime.del(attachment)
}

async function stateOf(pod: Netns): Promise<string> {
  const commands = [
    ['ip', 'link'],
    ['ip', 'route'],
    ['ip', '-6', 'route'],
    ['ip', 'neighbour'],
  ] as const
  const parts = await Promise.all(commands.map(command => pod.run(command)))
  return ['# pod', ...parts].join('\n')
}

/** What host-local has given: one file for each address. Its other files are its lock and the last address of each range. */
async function addressesIn(dataFolder: string, node: TulleNode): Promise<string> {
  const { stdout } = await node.netns.execute(['ls', '-R', dataFolder])
  return ['# host-local', ...stdout.split('\n').filter(line => /^[0-9a-f]+[.:][0-9a-f.:]*$/.test(line))].join('\n')
}
