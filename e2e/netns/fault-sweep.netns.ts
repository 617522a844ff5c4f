import './harness/isolated.ts'
import { chmod, mkdir, mkdtempDisposable, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { debianParts } from '../parts/debian.ts'
import type { JsonObject } from './harness/json.ts'
import { Netns } from './harness/namespace.ts'
import { type ChainOutcome, CniRuntime, newAttachment, type RuntimeAttachment } from './harness/runtime.ts'
import { BIN_FOLDER } from './harness/tulle.ts'
import { TulleNode } from './harness/tulle-node.ts'

// ADD failing, or killed, at each of its effects in turn: every message that it sends to the kernel (reads too), and every
// setting that it writes. strace makes the N-th of them fail, for N = 1, 2, … until there is none left to fail (checklist A9,
// R4, chapter 3 number 5; invariants 2 and 7).

const folder = await mkdtempDisposable(join(tmpdir(), 'tulle-faults-'))
t.teardown(() => folder.remove())
const debianPath = join(await debianParts(['containernetworking-plugins']), 'usr/lib/cni')
const LOG = join(folder.path, 'strace.log')
const WRAPPED = join(folder.path, 'wrapped')
/** host-local keeps one file for each address that is taken. */
const DATA_FOLDER = join(folder.path, 'host-local')

await mkdir(WRAPPED)
await writeFile(join(WRAPPED, 'tulle'), `#!/bin/sh\nexec strace -f -qq -o ${LOG} -e "trace=$SYSCALL" -e "inject=$SYSCALL:$FAULT" ${BIN_FOLDER}/tulle\n`)
await chmod(join(WRAPPED, 'tulle'), 0o755)

const IPAMS: readonly { readonly name: string; readonly ipam: JsonObject }[] = [
  {
    name: 'host-local',
    ipam: { type: 'host-local', dataDir: DATA_FOLDER, ranges: [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:10:88::/64' }]] },
  },
  { name: 'ipamd', ipam: { type: 'tulle-ipam' } },
]

/** What ADD does that others can see. */
const EFFECTS = [
  // Every netlink message, of rtnetlink and of nf_tables, whether it asks or changes.
  { name: 'message to the kernel', syscall: 'sendto', atLeast: 20 },
  { name: 'setting', syscall: 'pwrite64', atLeast: 4 },
] as const

interface Sweep {
  readonly node: TulleNode
  readonly ipam: JsonObject
  readonly syscall: string
  readonly pod: Netns
  /** What is there before each round, and has to be there after it. */
  readonly start: string
}

/** Runs ADD with the `number`-th system call going wrong. @returns Undefined when there was none. */
async function addWithFault(fault: string, attachment: RuntimeAttachment, { ipam, syscall }: Sweep): Promise<ChainOutcome | undefined> {
  const env = { PATH: process.env['PATH'] ?? '', SYSCALL: syscall, FAULT: fault }
  const outcome = await runtimeOf(ipam, { cniPath: [WRAPPED], env }).add(attachment)
  const log = await readFile(LOG, 'utf8')
  return log.includes('(INJECTED)') || log.includes('killed by SIGKILL') ? outcome : undefined
}

function runtimeOf(ipam: JsonObject, options: { readonly cniPath: readonly string[]; readonly env?: Readonly<Record<string, string>> }): CniRuntime {
  return new CniRuntime({
    conflist: { cniVersion: '1.0.0', name: 'pods', plugins: [{ type: 'tulle', ipam }] },
    ...options,
    cniPath: [...options.cniPath, debianPath],
  })
}

/** All that could be left: on the node, in the pod, in /run, at ipamd, at host-local. */
async function stateOf({ node, pod }: Pick<Sweep, 'node' | 'pod'>): Promise<string> {
  const { exitCode, stdout } = await node.netns.execute(['ls', '-R', DATA_FOLDER])
  // What is no address is host-local's own: its lock, and the last address that it gave.
  const taken = exitCode === 0 ? stdout.split('\n').filter(line => /^[0-9a-f]+[.:][0-9a-f.:]*$/.test(line)) : []
  return [await node.snapshot(), '# pod', await podState(pod), '# host-local', ...taken].join('\n')
}

for (const { name: source, ipam } of IPAMS) {
  for (const { name, syscall, atLeast } of EFFECTS) {
    const sweep = async (t: Test, each: (number: number, on: Sweep) => Promise<boolean>): Promise<void> => {
      await using node = await TulleNode.start({ cniPath: [debianPath] })
      await using pod = await Netns.create('pod', { isLoopbackUp: true })
      await prime(ipam)
      const start = await stateOf({ node, pod })
      let number = 1
      while (await each(number, { node, ipam, syscall, pod, start })) number++
      t.ok(number > atLeast, `${number - 1} of them`)
      t.equal(await stateOf({ node, pod }), start, 'nothing is left after all of them')
    }

    t.test(`ADD with ${source}: each ${name} that fails is reported, and everything is undone (A9)`, async t => {
      await sweep(t, async (number, on) => {
        const attachment = newAttachment(on.pod)
        const outcome = await addWithFault(`error=ENOBUFS:when=${number}`, attachment, on)
        if (outcome === undefined) return await takeDown(t, on, attachment)
        t.equal(outcome.exitCode, 1, `${number}: ${outcome.stdout}`)
        t.match(outcome.json, { code: 102, msg: /ENOBUFS/ }, `${number}: the first error`)
        t.equal(await stateOf(on), on.start, `${number}: everything is as before`)
        return true
      })
    })

    t.test(`ADD with ${source}: killed before each ${name}, DEL or another ADD repairs it (R4, invariant 7)`, async t => {
      await sweep(t, async (number, on) => {
        const attachment = newAttachment(on.pod)
        const outcome = await addWithFault(`signal=KILL:when=${number}`, attachment, on)
        if (outcome === undefined) return await takeDown(t, on, attachment)
        t.equal(outcome.exitCode, null, `${number}: killed`)
        const runtime = runtimeOf(on.ipam, { cniPath: [BIN_FOLDER] })
        // One in two with a second ADD between: the DEL after it has to undo what the killed one left, too.
        if (number % 2 === 0) await addAgain(t, runtime, { attachment, what: `${number}` })
        t.equal((await runtime.del(attachment)).exitCode, 0, `${number}: DEL`)
        t.equal(await stateOf(on), on.start, `${number}: everything is as before`)
        return true
      })
    })
  }
}

async function addAgain(t: Test, runtime: CniRuntime, { attachment, what }: Again): Promise<void> {
  let added = await runtime.add(attachment)
  // Only DEL makes host-local forget an attachment. ADD sees nothing of the killed one, fails, and sends that DEL itself.
  if (added.stdout.includes('duplicate allocation is not allowed')) added = await runtime.add(attachment)
  t.equal(added.exitCode, 0, `${what}: ADD again ${added.stdout}`)
  t.equal((await runtime.check(attachment)).stdout, '', `${what}: CHECK`)
}

interface Again {
  readonly attachment: RuntimeAttachment
  readonly what: string
}

/** The end of a sweep: the ADD that nothing went wrong with has to come off again. @returns False. */
async function takeDown(t: Test, { ipam }: Sweep, attachment: RuntimeAttachment): Promise<false> {
  t.equal((await runtimeOf(ipam, { cniPath: [BIN_FOLDER] }).del(attachment)).exitCode, 0, 'DEL of the last one')
  return false
}

/** Puts the node where each round starts: a pod has come and gone. */
async function prime(ipam: JsonObject): Promise<void> {
  await using pod = await Netns.create('pod')
  const runtime = runtimeOf(ipam, { cniPath: [BIN_FOLDER] })
  const attachment = newAttachment(pod)
  const added = await runtime.add(attachment)
  if (added.exitCode !== 0) throw new Error(added.stdout)
  await runtime.del(attachment)
}

async function podState(pod: Netns): Promise<string> {
  const commands = [['ip', 'link'], ['ip', 'route'], ['ip', '-6', 'route'], ['ip', 'neighbour']] as const
  const parts = await Promise.all(commands.map(command => pod.run(command)))
  return parts.join('\n')
}
