/**
 * `npm run conformance:peers [-- TITLE ...]`: holds Tulle and other plugins against the suite and writes docs/conformance.md.
 *
 * The reports, with what is needed to see each failure again, are kept in conformance/results. With titles only those plugins
 * are held against it anew; the page has all of which there are reports. With `--page` the page is written anew, and nothing else.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { PEERS, fileNameOf } from './all.ts'
import { renderPage } from './page.ts'
import { type Report, parseReport } from './report.ts'

const RESULTS = join(import.meta.dirname, '../results')
const PAGE = join(import.meta.dirname, '../../docs/conformance.md')

/** Plugins at once: the suite waits more than it works. */
const AT_ONCE = 3

const isPageOnly = process.argv[2] === '--page'
const titles = isPageOnly ? [] : process.argv.slice(2)
const unknown = titles.filter(title => !PEERS.some(peer => peer.title === title))
if (unknown.length > 0) throw new Error(`${unknown.join(', ')}: want ${PEERS.map(({ title }) => title).join(', ')}`)
const asked = PEERS.filter(({ title }) => titles.length === 0 || titles.includes(title))

mkdirSync(RESULTS, { recursive: true })
const queue = isPageOnly ? [] : [...asked]
await Promise.all(Array.from({ length: AT_ONCE }, work))
writeFileSync(PAGE, renderPage(reports()))

async function work(): Promise<void> {
  for (let peer = queue.shift(); peer !== undefined; peer = queue.shift()) {
    const exitCode = await runPeer(peer.title, join(RESULTS, `${fileNameOf(peer)}.json`))
    // A plugin about which nothing could be found out must not look as if it had been looked at.
    if (exitCode !== 0) process.exitCode = 1
  }
}

async function runPeer(title: string, file: string): Promise<number | null> {
  const { promise, resolve, reject } = Promise.withResolvers<number | null>()
  const child = spawn(process.execPath, [join(import.meta.dirname, 'run.ts'), title, file], { stdio: 'inherit' })
  child.on('error', reject)
  child.on('exit', resolve)
  return await promise
}

function reports(): readonly Report[] {
  const files = PEERS.map(peer => join(RESULTS, `${fileNameOf(peer)}.json`)).filter(existsSync)
  return files.map(file => parseReport(readFileSync(file, 'utf8'), file))
}
