import t from 'tap'
import { parseFailures, parseSkips, parseTotals, renderFailures, renderSkip, renderTotals } from './tap-report.ts'

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

t.test(
  'parseFailures() names each assertion, test and file that failed, once, and no parent for its own sake',
  async t => {
    const tap = `
# Subtest: lib/a.test.ts
    # Subtest: outer
        # Subtest: inner
            not ok 1 - numbers
              ---
              compare: ===
              ...
            ok 2 - should be equal
        not ok 1 - inner # time=68.662ms
        not ok 2 - more numbers
    not ok 1 - outer # time=89.746ms
    # Subtest: late
        not ok 1 - timeout!
    not ok 2 - late # time=107.88ms
    not ok 3 - late # time=107.88ms
    ok 4 - fine
not ok 1 - lib/a.test.ts # time=578ms
ok 2 - lib/b.test.ts # time=5ms
not ok 3 - lib/c.test.ts # time=900000ms
`
    t.strictSame(renderFailures(parseFailures(tap)), [
      'FAILED lib/a.test.ts: outer > inner > numbers',
      'FAILED lib/a.test.ts: outer > more numbers',
      'FAILED lib/a.test.ts: late > timeout!',
      'FAILED lib/a.test.ts: late',
      'FAILED lib/c.test.ts',
    ])
  },
)

t.test('parseFailures() finds nothing in a run that is all right', async t => {
  t.strictSame(parseFailures('TAP version 14\nok 1 - lib/a.test.ts # time=5ms\n'), [])
})
