import { buildAll } from './build.ts'
import { ourFiles } from './source-files.ts'
import { runTap } from './tap.ts'
import { renderTotals } from './tap-report.ts'

/** `npm run cri`: builds, and runs the tests against a real container runtime. */
const complaints = await buildAll()
const totals = await runTap(ourFiles('e2e/cri/**/*.cri.ts'), process.argv.slice(2))
process.stderr.write(complaints)
const failed = totals.failed + (complaints === '' ? 0 : 1)
process.stdout.write(`${renderTotals({ ...totals, failed })}\n`)
process.exitCode = failed === 0 ? 0 : 1
