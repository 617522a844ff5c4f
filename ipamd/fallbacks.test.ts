import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { SPOOL_DIR_NAME } from '../lib/ipam/spool-entry.ts'
import { noteFallback } from '../lib/os/fallback-note.ts'
import { Fallbacks } from './fallbacks.ts'

function daemonOf(t: Test) {
  const folder = t.testdir()
  const spool = join(folder, SPOOL_DIR_NAME)
  mkdirSync(spool)
  const counted: (readonly [string, number])[] = []
  const log: string[] = []
  const fallbacks = new Fallbacks(spool, {
    log: { info: () => {}, error: () => {}, warn: (msg, fields) => void log.push(`${msg} ${JSON.stringify(fields)}`) },
    count: ({ verb, reason }, by) => void counted.push([`${verb} ${reason}`, by]),
    nowUnixMs: () => 7,
  })
  return { fallbacks, counted, log, spool, socket: join(folder, 'ipamd.sock') }
}

t.test('collect() counts each note once, by verb and reason, and says so in the log', async t => {
  const { fallbacks, counted, log, socket, spool } = daemonOf(t)
  for (let call = 0; call < 3; call++) noteFallback(socket, { verb: 'ADD', reason: 'unreachable' })
  noteFallback(socket, { verb: 'DEL', reason: 'late' })
  fallbacks.collect()
  fallbacks.collect()
  t.same(
    counted.toSorted(([a], [b]) => a.localeCompare(b)),
    [
      ['ADD unreachable', 3],
      ['DEL late', 1],
    ],
  )
  t.equal(log.length, 2)
  t.same(readdirSync(spool), [])
  noteFallback(socket, { verb: 'ADD', reason: 'unreachable' })
  fallbacks.collect()
  t.match(
    fallbacks.read().find(({ verb }) => verb === 'ADD'),
    { reason: 'unreachable', calls: 4, lastSeenUnixMs: 7 },
  )
})

t.test(
  'collect() leaves every other file alone, and counts what a daemon that was killed had begun to count',
  async t => {
    const { fallbacks, counted, spool } = daemonOf(t)
    const others = ['a.json', 'fallback.SING.late', 'fallback.ADD.Late', 'fallback.ADD', '.a.json.1']
    for (const name of others) writeFileSync(join(spool, name), 'xx')
    writeFileSync(join(spool, '.countingfallback.GC.broken'), '..')
    fallbacks.collect()
    t.same(counted, [['GC broken', 2]])
    t.same(readdirSync(spool).toSorted(), others.toSorted())
  },
)

t.test('noteFallback() says why a note cannot be left', async t => {
  const folder = t.testdir({ file: '' })
  t.match(noteFallback(join(folder, 'file', 'ipamd.sock'), { verb: 'ADD', reason: 'late' }), /ENOTDIR/)
})
