import '../e2e/netns/harness/isolated.ts'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { selectChecks } from './checks/all.ts'
import { buildFixture, fixtureSubject } from './fixture/build.ts'
import { MUTANTS } from './fixture/plugin/mutant.ts'
import { runSuite } from './suite.ts'

// Every bug is found by the check that is there for it. That the check passes without the bug: fixture.netns.ts.

const folder = await mkdtempDisposable(join(tmpdir(), 'conformance-mutants-'))
t.teardown(() => folder.remove())
await buildFixture(folder.path)

for (const [mutant, id] of Object.entries(MUTANTS)) {
  t.test(`${id} finds the bug ${mutant}`, async t => {
    const [finding] = await runSuite(fixtureSubject(folder.path, mutant), { checks: selectChecks([id]) })
    t.match(finding?.verdict, /^(?:fail|differs)$/, finding?.seen.join('\n') ?? '')
    t.ok((finding?.seen.length ?? 0) > 0, 'and says what it saw')
    t.ok((finding?.steps.length ?? 0) > 0, 'and how to see it again')
  })
}
