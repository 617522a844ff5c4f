import { appendFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { SERVED } from '../report/contenders.ts'
import { series } from '../report/fake-samples.ts'
import { Journal } from './journal.ts'

const folder = mkdtempSync(join(tmpdir(), 'tulle-journal-'))
t.teardown(() => rmSync(folder, { recursive: true }))
const SAMPLE = series({ contender: SERVED, verb: 'ADD' })

t.test('Journal.open() goes on with a run that was stopped, also in the middle of a line', async t => {
  const file = join(folder, 'stopped.jsonl')
  const first = Journal.open(file, 'this', false)
  first.add('one', [SAMPLE])
  appendFileSync(file, '{"turn":"tw')
  const second = Journal.open(file, 'this', false)
  t.equal(second.startedAt, first.startedAt)
  t.strictSame([second.has('one'), second.has('two')], [true, false])
  second.add('two', [])
  const third = Journal.open(file, 'this', false)
  t.strictSame([third.turns, third.samples, third.loads.length], [2, [SAMPLE], 3])
  third.close()
  t.equal(Journal.open(file, 'this', false).turns, 0, 'a run that is over is not gone on with')
})

t.test('Journal.open() begins anew where something else is measured, or that is asked for', async t => {
  const file = join(folder, 'other.jsonl')
  Journal.open(file, 'this', false).add('one', [SAMPLE])
  t.equal(Journal.open(file, 'that', false).turns, 0)
  Journal.open(file, 'that', false).add('one', [SAMPLE])
  t.equal(Journal.open(file, 'that', true).turns, 0)
})
