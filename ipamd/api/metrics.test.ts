import { existsSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { encodeSpoolEntry, spoolFileName } from '../../lib/ipam/spool-entry.ts'
import { post, send } from '../test-request.ts'
import { renderMetrics } from '../../lib/metrics/exposition.ts'
import { startForTest, type TestDaemon } from './test-daemon.ts'

const LABEL = String.raw`[a-z_]+="(?:[^"\\\n]|\\[\\"n])*"`
const SAMPLE = new RegExp(String.raw`^([a-z_]+(?:\{${LABEL}(?:,${LABEL})*\})?) ([0-9.e+-]+|\+Inf)$`)

/** Reads the text format strictly: each metric has HELP, TYPE and then its samples, each once. */
function parseMetrics(text: string): ReadonlyMap<string, number> {
  const samples = new Map<string, number>()
  const seen = new Set<string>()
  let current = ''
  const lines = text.split('\n')
  if (lines.pop() !== '') throw new Error('the last line has no end')
  for (const line of lines) {
    const [, keyword, name = '', rest = ''] = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line) ?? []
    if (keyword === 'HELP') {
      if (seen.has(name)) throw new Error(`${name} comes twice`)
      seen.add(name)
      current = name
    } else if (keyword === 'TYPE') {
      if (name !== current || !['counter', 'gauge', 'histogram'].includes(rest)) throw new Error(line)
    } else {
      const [, series = '', value = ''] = SAMPLE.exec(line) ?? []
      if (!series.startsWith(current) || series === '' || samples.has(series)) throw new Error(`not a sample: ${line}`)
      samples.set(series, Number(value))
    }
  }
  return samples
}

async function metricsOf({ socket }: TestDaemon): Promise<ReadonlyMap<string, number>> {
  return parseMetrics(
    await new Promise((resolve, reject) => {
      request({ socketPath: socket, path: '/metrics' }, response => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
        response.on('end', () => resolve(text))
      })
        .on('error', reject)
        .end()
    }),
  )
}

function attachment(containerId: string) {
  return { network: 'net', containerId, ifName: 'eth0' }
}

t.test('GET /metrics counts addresses by state, changes, refusals, requests and commits', async t => {
  await using daemon = await startForTest({ prefixes: ['10.0.0.0/29', 'fd00::/64'] })
  const ids = ['a', 'b', 'c', 'd', 'e', 'f']
  for (const id of ids) await post(daemon.socket, '/v1/leases', { attachment: attachment(id) })
  await post(daemon.socket, '/v1/leases', { attachment: attachment('a') })
  await post(daemon.socket, '/v1/leases/release', { attachment: attachment('a') })
  await send(daemon.socket, { path: '/v1/nothing' })
  const metrics = await metricsOf(daemon)
  for (const [series, want] of [
    ['tulle_ipamd_leases{pool="default"}', 4],
    ['tulle_ipamd_addresses{pool="default",family="ipv4",state="leased"}', 4],
    ['tulle_ipamd_addresses{pool="default",family="ipv4",state="cooling"}', 1],
    ['tulle_ipamd_addresses{pool="default",family="ipv4",state="free"}', 0],
    ['tulle_ipamd_addresses_capacity{pool="default",family="ipv4"}', 5],
    ['tulle_ipamd_addresses_capacity{pool="default",family="ipv6"}', 2 ** 64],
    ['tulle_ipamd_blocks{pool="default",family="ipv6"}', 1],
    ['tulle_ipamd_allocations_total{pool="default"}', 5],
    ['tulle_ipamd_allocation_refusals_total{problem="pool-exhausted"}', 1],
    ['tulle_ipamd_releases_total{pool="default",reason="del"}', 1],
    ['tulle_ipamd_blocks_taken_total{pool="default"}', 2],
    ['tulle_ipamd_requests_total{method="POST",route="/v1/leases",status="200"}', 6],
    ['tulle_ipamd_requests_total{method="POST",route="/v1/leases",status="503"}', 1],
    ['tulle_ipamd_requests_total{method="other",route="unknown",status="404"}', 1],
    // One more at start: how the clock stands.
    ['tulle_ipamd_commit_seconds_count', 1 + 6],
    ['tulle_ipamd_commit_seconds_bucket{le="+Inf"}', 1 + 6],
    ['tulle_ipamd_newest_event', 2 + 2 * 6],
    ['tulle_ipamd_spool_entries{state="waiting"}', 0],
    ['tulle_ipamd_event_streams', 0],
  ] as const) {
    t.equal(metrics.get(series), want, series)
  }
  t.ok((metrics.get('tulle_ipamd_store_bytes') ?? 0) > 4096)
})

t.test('GET /metrics sees what waits in the spool, and what was set aside', async t => {
  await using daemon = await startForTest()
  const spool = join(daemon.folder, 'run', 'spool')
  const path = join(spool, spoolFileName(attachment('a')))
  writeFileSync(path, encodeSpoolEntry({ attachment: attachment('a'), releasedAtUnixMs: 1 }))
  writeFileSync(join(spool, 'x.json.bad'), '')
  const metrics = await metricsOf(daemon)
  t.equal(metrics.get('tulle_ipamd_spool_entries{state="waiting"}'), 1)
  t.equal(metrics.get('tulle_ipamd_spool_entries{state="set-aside"}'), 1)
  t.ok(existsSync(path))
})

t.test('renderMetrics() escapes what would end a label or a line', async t => {
  const text = renderMetrics([
    { name: 'x', help: 'a\\b\nc', type: 'gauge', samples: [{ labels: { l: 'a"b\\c\nd' }, value: 1n }] },
  ])
  t.equal(text, '# HELP x a\\\\b\\nc\n# TYPE x gauge\nx{l="a\\"b\\\\c\\nd"} 1\n')
})
