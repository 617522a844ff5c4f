import t from 'tap'
import { pluginCase } from './arbitraries.ts'
import { anySeed, runCampaign } from './campaign.ts'
import { readCorpus } from './corpus.ts'
import type { PluginCase } from './plugin-case.ts'
import { runPluginCase } from './run-plugin-case.ts'

// Whatever comes by environment, standard input, prevResult or an IPAM plugin: one document with the right code or nothing, no
// stack for a message, nothing left behind, nothing left open (invariants 5 and 8).

const CASES = 2_000
const seed = anySeed()

t.test(`handle() survives ${CASES} hostile runs, seed ${seed}`, async t => {
  const { outcomes, failure } = await runCampaign(
    { name: 'plugin', cases: pluginCase, run: runPluginCase },
    { cases: CASES, seed },
  )
  t.equal(failure, undefined)
  t.ok(
    outcomes.some(([outcome]) => outcome === 'ADD done'),
    'some of them get through',
  )
  t.ok(outcomes.length > 15, `they come to ${outcomes.length} ends`)
})

for (const { name, content } of readCorpus('plugin')) {
  t.test(`handle() survives ${name}`, async t =>
    t.strictSame((await runPluginCase(content as PluginCase)).problems, []),
  )
}

t.test('the judge sees what is wrong, or it would prove nothing', async t => {
  const { judgeOutcome } = await import('./judge-outcome.ts')
  const run = { stdout: '', stderr: '', exitCode: 0 }
  const failed = (document: object) => ({ ...run, exitCode: 1, stdout: `${JSON.stringify(document)}\n` })
  const good = { cniVersion: '1.1.0', code: 7, msg: 'Cannot use mtu 5: want an integer' }
  t.strictSame(judgeOutcome('ADD', failed(good)), [])
  t.strictSame(judgeOutcome('DEL', run), [])
  for (const [what, command, outcome] of [
    ['two documents', 'ADD', { ...failed(good), stdout: '{}\n{}\n' }],
    ['a bug', 'ADD', failed({ ...good, code: 999 })],
    ['a promise that cannot be kept', 'ADD', failed({ ...good, code: 3 })],
    ['a stack', 'ADD', failed({ ...good, msg: 'no\n    at add (add.ts:5)' })],
    ['what JavaScript says', 'ADD', failed({ ...good, msg: 'x is undefined' })],
    ['silence', 'ADD', { ...run, exitCode: 1 }],
    ['another exit code', 'ADD', { ...run, exitCode: 139 }],
    ['ADD without a result', 'ADD', run],
    ['DEL with one', 'DEL', { ...run, stdout: '{"cniVersion":"1.1.0"}\n' }],
  ] as const) {
    t.ok(judgeOutcome(command, outcome).length > 0, what)
  }
})
