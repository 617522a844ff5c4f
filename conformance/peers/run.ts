/**
 * One peer under the suite: `run.ts TITLE FILE [ONLY]` writes its report. For main.ts, which gives each peer a process of its
 * own. With ONLY (as for --only) a report that is there gets the findings of these checks anew, keeps its date for the others, and
 * says which are newer.
 */
import '../../e2e/netns/harness/isolated.ts'
import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ALL_CHECKS, selectChecks } from '../checks/all.ts'
import { jsonReport } from '../report/json.ts'
import { countVerdicts, renderCounts } from '../report/table.ts'
import { type Finding, runSuite } from '../suite.ts'
import { PEERS } from './all.ts'

const ROOT = join(import.meta.dirname, '../..')

const [title, file, only = ''] = process.argv.slice(2)
const peer = PEERS.find(peer => peer.title === title)
if (peer === undefined || file === undefined)
  throw new Error(`want one of ${PEERS.map(({ title }) => title).join(', ')} and a file`)

await using folder = await mkdtempDisposable(join(tmpdir(), 'conformance-peer-'))
const subject = await peer.subject(folder.path)
const anew = await runSuite(subject, { checks: selectChecks(only.split(',').filter(word => word !== '')) })
// It is a report that this program has written.
const earlier = only === '' ? undefined : (JSON.parse(await readFile(file, 'utf8')) as Earlier)
const findings = earlier === undefined ? anew : merged(earlier.findings, anew)
const renewal = { date: new Date().toISOString(), ids: anew.map(({ id }) => id) }
const dates = earlier && { date: earlier.date, renewed: [...(earlier.renewed ?? []), renewal] }
const report = { title, version: peer.version, ...jsonReport(subject, findings), ...dates }
// A report says how to see a failure again, and nothing of the machine on which it was seen.
const text = JSON.stringify(report, null, 1).replaceAll(folder.path, '/tmp/peer').replaceAll(ROOT, '.')
await writeFile(file, `${text}\n`)
process.stderr.write(`${title}: ${renderCounts(countVerdicts(findings))}\n`)

interface Earlier {
  readonly date: string
  readonly renewed?: readonly { readonly date: string; readonly ids: readonly string[] }[]
  readonly findings: readonly Finding[]
}

/** The findings of an earlier report, with those of `anew` in their places. */
function merged(earlier: readonly Finding[], anew: readonly Finding[]): readonly Finding[] {
  const known = new Map([...earlier, ...anew].map(finding => [finding.id, finding]))
  return ALL_CHECKS.flatMap(({ id }) => known.get(id) ?? [])
}
