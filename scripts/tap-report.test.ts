import t from 'tap'
import { parseSkips, parseTotals, renderSkip, renderTotals } from './tap-report.ts'

const totals = [
  {
    name: 'reads the outermost',
    tap: '    # { total: 2, fail: 2 }\n# { total: 3, pass: 3 }\n',
    want: '3 passed, 0 failed',
  },
  {
    name: 'reads all',
    tap: '# { total: 9, pass: 6, fail: 1, skip: 1, todo: 1 }\n',
    want: '6 passed, 1 failed, 2 skipped',
  },
  { name: 'takes a run without totals as failed', tap: 'TAP version 14\nok 1 - x\n', want: '0 passed, 1 failed' },
]
for (const { name, tap, want } of totals) {
  t.test(`parseTotals() ${name}`, async t => {
    t.equal(renderTotals(parseTotals(tap)), want)
  })
}

t.test('parseSkips() names file, title and reason, and excuses only what the machine lacks', async t => {
  const tap = `
# Subtest: lib/a.test.ts
    ok 1 - one() works # time=3ms
    ok 2 - two() works # SKIP
    ok 3 - three() works # TODO later
ok 1 - lib/a.test.ts # time=9ms
# Subtest: e2e/b.netns.ts
    1..0 # no Go on this machine
ok 2 - e2e/b.netns.ts # SKIP no Go on this machine
`
  t.strictSame(parseSkips(tap).map(renderSkip), [
    'SKIPPED lib/a.test.ts: two() works: no reason (fails: a skip has to say what this machine lacks)',
    'SKIPPED lib/a.test.ts: three() works: later (fails: a skip has to say what this machine lacks)',
    'SKIPPED e2e/b.netns.ts: no Go on this machine',
  ])
})
