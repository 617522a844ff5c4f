import t from 'tap'
import { parseReport, renderReport } from './report.ts'

const spec = (name: string, State: string, message = '') => ({
  ContainerHierarchyTexts: ['[sig-network] Services'],
  LeafNodeText: name,
  LeafNodeType: 'It',
  State,
  RunTime: 1_500_000_000,
  ...(message === '' ? {} : { Failure: { Message: message } }),
})
const setup = { ...spec('', 'passed'), ContainerHierarchyTexts: null, LeafNodeType: 'SynchronizedBeforeSuite' }
const REPORT = JSON.stringify([
  { SpecReports: [setup, spec('serves b [Conformance]', 'failed', 'timed out'), spec('other', 'skipped')] },
  { SpecReports: [spec('serves a [Conformance]', 'passed')] },
  { SpecReports: null },
])

t.test('parseReport() finds the specs that were wanted, in the order of their names, and why one failed', async t => {
  t.strictSame(
    parseReport(REPORT, name => name.includes('[Conformance]')),
    [
      { name: '[sig-network] Services serves a [Conformance]', state: 'passed', seconds: 1.5 },
      { name: '[sig-network] Services serves b [Conformance]', state: 'failed', seconds: 1.5, failure: 'timed out' },
    ],
  )
})

t.test('renderReport() counts each kind by itself, and names every spec with its result', async t => {
  const results = parseReport(REPORT, () => true)
  const text = renderReport(results, {
    date: '2026-11-25',
    command: 'make it so',
    versions: [['kubelet', 'v1']],
    minutes: 2,
  })
  t.match(text, '## Conformance: 1 of 2 passed')
  t.match(text, '## Dual stack: 0 of 1 passed')
  t.match(text, '| `[sig-network] Services serves b [Conformance]` | failed | 1.5 |')
  t.match(text, '| kubelet | v1 |')
})
