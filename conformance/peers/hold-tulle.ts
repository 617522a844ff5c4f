import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { debianPlugins } from '../../e2e/netns/harness/debian-plugins.ts'
import { selectChecks } from '../checks/all.ts'
import { type Finding, runSuite } from '../suite.ts'
import { VARIANTS, type Variant, tulleSubject } from './tulle.ts'

/** Later plugins that change what the result says and do not tell: CHECK cannot know that it was them (docs/conformance.md). */
const LIMITS: ReadonlySet<string> = new Set(['X2.then-tuning-mtu', 'X2.then-sbr'])

/** The reference portmap (1.1.1) looks for the rule of a pod's IPv4 address among those of IPv6, when the pod has both. */
const LIMITS_OF_DUAL_STACK: ReadonlySet<string> = new Set(['X2.then-portmap'])

/** Of a variant that is like a whole one but for its address families or its caller: what depends on these. */
const PART = ['V3', 'A1', 'A4', 'A5', 'A6', 'D', 'K', 'G1', 'S1', 'S2']

/** Tulle under the conformance suite, in one mode: every check that can be asked of it passes, but for the limits that are named here. */
export async function holdToTheSpecification(mode: 'transparent' | 'bridge'): Promise<void> {
  const folder = await mkdtempDisposable(join(tmpdir(), 'tulle-conformance-'))
  t.teardown(() => folder.remove())
  const reference = await debianPlugins(folder.path)
  for (const variant of VARIANTS.filter(({ name }) => name.startsWith(mode))) {
    await t.test(`runSuite() finds nothing wrong with Tulle: ${variant.name}`, async t => {
      const checks = selectChecks(variant.name.endsWith('dual stack') ? [] : PART)
      const subject = await tulleSubject(variant, folder.path, reference)
      const findings = await runSuite(subject, { checks, onFinding: finding => judge(finding) })
      const asked = findings.filter(({ verdict }) => verdict !== 'not-applicable')
      t.ok(asked.length > checks.length * 0.8, `${asked.length} of ${checks.length} checks could be asked`)

      function judge({ id, verdict, seen }: Finding): void {
        if (isKnownLimit(id, variant)) return
        t.match(verdict, /^(?:pass|not-applicable)$/, [id, ...seen].join('\n'))
      }
    })
  }
}

function isKnownLimit(id: string, { name }: Variant): boolean {
  if (name.endsWith('dual stack') && LIMITS_OF_DUAL_STACK.has(id)) return true
  return LIMITS.has(id)
}
