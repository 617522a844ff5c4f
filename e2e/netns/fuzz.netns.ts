import './harness/isolated.ts'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { pluginCase } from '../../fuzz/arbitraries.ts'
import { anySeed } from '../../fuzz/campaign.ts'
import { judgeOutcome } from '../../fuzz/judge-outcome.ts'
import { NETNS, type PluginCase } from '../../fuzz/plugin-case.ts'
import { execute } from '../parts/command.ts'
import { Netns } from './harness/namespace.ts'
import { BIN_FOLDER } from './harness/tulle.ts'
import { TulleNode } from './harness/tulle-node.ts'

// The hostile runs of fuzz/, on the built executable and the real kernel: what a process adds to them is exit codes, real
// paths, and a real namespace in which something could be left (invariants 5 and 8).

const CASES = Number(process.env['TULLE_FUZZ_CASES'] ?? 40)
const seed = Number(process.env['TULLE_FUZZ_SEED'] ?? anySeed())
const TULLE = join(BIN_FOLDER, 'tulle')
const TIMEOUT_MS = 60_000

/** Bridges that cases ask for: the node's, as everything is that ADD makes once and for all. */
const BRIDGES = ['cni0', 'br0']

t.test(`the executable survives ${CASES} hostile runs, seed ${seed}`, { timeout: 0 }, async t => {
  await using node = await TulleNode.start()
  const before = await node.snapshot()
  await using pod = await Netns.create('pod', { isLoopbackUp: true })
  // A socket in a strange folder would get a spool beside it, and not every folder here is the test's own.
  const safe = pluginCase.filter(({ stdin }) => !stdin.includes('"socket"'))
  const details = await fc.check(
    fc.asyncProperty(safe, async each => {
      const problems = await problemsOf(inNamespace(each, pod))
      if (problems.length > 0) throw new Error(problems.join('\n'))
    }),
    { numRuns: CASES, seed, endOnFailure: true },
  )
  t.notOk(details.failed, `${String(details.errorInstance)} ${JSON.stringify(details.counterexample)}`)
  for (const bridge of BRIDGES) await node.netns.execute(['ip', 'link', 'delete', bridge])
  await pod.delete()
  t.equal(await node.snapshot(), before, 'nothing is left')
})

t.test('a configuration of 100 MB is refused, not read', async t => {
  const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c1', CNI_NETNS: NETNS, CNI_IFNAME: 'eth0', CNI_PATH: BIN_FOLDER }
  const stdin = `{"cniVersion":"1.1.0","name":"pods","x":"${'x'.repeat(100 * 1024 * 1024)}"}`
  const outcome = await execute([TULLE], { env, stdin, timeoutMs: TIMEOUT_MS })
  t.equal(outcome.exitCode, 1)
  t.match(JSON.parse(outcome.stdout), { code: 5, msg: /it has more than 1048576 bytes/ })
})

function inNamespace(each: PluginCase, { path }: Netns): PluginCase {
  const rename = (text: string): string => text.replaceAll(NETNS, path)
  const env = Object.fromEntries(Object.entries(each.env).map(([key, value]) => [key, rename(value)]))
  return { ...each, env: { ...env, PATH: process.env['PATH'] ?? '' }, stdin: rename(each.stdin) }
}

/** Runs a case, and DEL after it, which has to take back whatever it made. */
async function problemsOf({ env, stdin }: PluginCase): Promise<readonly string[]> {
  const command = env['CNI_COMMAND']
  const outcome = await execute([TULLE], { env, stdin, timeoutMs: TIMEOUT_MS })
  if (outcome.isTimedOut || outcome.exitCode === null) return [`it ended by ${outcome.signal}, ${outcome.stderr}`]
  const problems = judgeOutcome(command, { ...outcome, exitCode: outcome.exitCode })
  if (command !== 'ADD' || outcome.exitCode !== 0) return problems
  const deleted = await execute([TULLE], { env: { ...env, CNI_COMMAND: 'DEL' }, stdin, timeoutMs: TIMEOUT_MS })
  return deleted.exitCode === 0 ? problems : [...problems, `DEL: ${deleted.stdout} ${deleted.stderr}`]
}
