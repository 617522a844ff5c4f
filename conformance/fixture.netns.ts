import '../e2e/netns/harness/isolated.ts'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ALL_CHECKS } from './checks/all.ts'
import { buildFixture, fixtureSubject } from './fixture/build.ts'
import { runSuite } from './suite.ts'

// The suite accuses nobody wrongly: a plugin that keeps every promise passes every check.

/** What cannot be asked of the fixture, and why it is no loss. */
const NOT_APPLICABLE = new Set([
  // It supports every version, makes no bridge and no firewall rules.
  'V3.old-refused',
  'K3.host-detached',
  'K3.bridge-down',
  'K3.firewall-gone',
  // The reference plugins are other people's, and need not be here.
  ...ALL_CHECKS.filter(({ needs }) => needs?.includes('reference-plugins')).map(({ id }) => id),
])

const folder = await mkdtempDisposable(join(tmpdir(), 'conformance-fixture-'))
t.teardown(() => folder.remove())
await buildFixture(folder.path)

t.test('runSuite() finds nothing wrong with the fixture', async t => {
  await runSuite(fixtureSubject(folder.path), {
    checks: ALL_CHECKS,
    onFinding({ id, verdict, seen }) {
      t.equal(
        verdict,
        NOT_APPLICABLE.has(id) ? 'not-applicable' : 'pass',
        `${id}${seen.map(text => `\n${text}`).join('')}`,
      )
    },
  })
})
