import { existsSync, mkdirSync, readdirSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { encodeSpoolEntry, spoolFileName } from '../lib/ipam/spool-entry.ts'
import { parseAddress } from '../lib/net/address.ts'
import { addressesOf, attachment, rig } from './fake-machine.ts'
import { post, send } from './test-request.ts'

t.test('the spool is replayed at start, by owner and addresses (R13, R7)', async t => {
  const { folder, socket, start } = rig(t)
  const daemon = await start()
  for (const id of ['a', 'b', 'c']) await post(socket, '/v1/leases', { attachment: attachment(id) })
  await daemon.close()
  const spool = join(folder, 'run', 'spool')
  const v4 = parseAddress('10.244.0.2')
  const v6 = parseAddress('fd00:10:244::2')
  const entries = [
    { attachment: attachment('a'), addresses: [v4, v6], releasedAtUnixMs: 1 },
    { attachment: attachment('b'), addresses: [v4, v6], releasedAtUnixMs: 1 },
    { attachment: attachment('gone'), releasedAtUnixMs: 1 },
  ]
  for (const entry of entries) writeFileSync(join(spool, spoolFileName(entry.attachment)), encodeSpoolEntry(entry))
  writeFileSync(join(spool, '.tmp.json'), 'half')
  await start()
  t.same(readdirSync(spool), ['.tmp.json'], 'what was carried out is gone, what is being written is not touched')
  const left = await send(socket, { path: '/v1/leases' })
  t.same(
    (left.body['leases'] as { attachment: { containerId: string } }[]).map(lease => lease.attachment.containerId),
    ['b', 'c'],
  )
})

t.test('an entry that is none is set aside and stops nothing (R41)', async t => {
  const { folder, start, log } = rig(t)
  const spool = join(folder, 'run', 'spool')
  mkdirSync(spool, { recursive: true, mode: 0o700 })
  writeFileSync(join(spool, 'a.json'), '')
  writeFileSync(join(spool, 'b.json'), '{"format":"tulle-release/9"}')
  writeFileSync(join(spool, 'c.json'), 'x'.repeat(20_000))
  mkdirSync(join(spool, 'd.json'))
  symlinkSync('/etc/passwd', join(spool, 'e.json'))
  await start()
  t.same(readdirSync(spool), ['a.json.bad', 'b.json.bad', 'c.json.bad', 'd.json.bad', 'e.json.bad'])
  t.equal(log.filter(line => line.includes('spool entry set aside')).length, 5)
})

t.test('an entry that cannot be read or set aside stops nothing either (R41)', async t => {
  const { folder, socket, start, log } = rig(t)
  const daemon = await start()
  await post(socket, '/v1/leases', { attachment: attachment('a') })
  await daemon.close()
  const spool = join(folder, 'run', 'spool')
  const server = createServer()
  // open(2) refuses a socket.
  await new Promise<void>(resolve => server.listen(join(spool, '0.json'), resolve))
  t.teardown(() => server.close())
  // rename(2) refuses to put a file in the place of a folder.
  mkdirSync(join(spool, '1.json.bad'))
  writeFileSync(join(spool, '1.json'), 'x')
  const file = join(spool, spoolFileName(attachment('a')))
  writeFileSync(file, encodeSpoolEntry({ attachment: attachment('a'), releasedAtUnixMs: 1 }))
  await start()
  t.same((await send(socket, { path: '/v1/leases' })).body, { leases: [] })
  t.notOk(existsSync(file))
  t.equal(log.filter(line => line.includes('spool entry not read')).length, 2)
})

t.test('start() serves while the store takes no release from the spool', async t => {
  const { folder, socket, start, log } = rig(t)
  const daemon = await start()
  await post(socket, '/v1/leases', { attachment: attachment('a') })
  await daemon.close()
  const file = join(folder, 'run', 'spool', spoolFileName(attachment('a')))
  writeFileSync(file, encodeSpoolEntry({ attachment: attachment('a'), releasedAtUnixMs: 1 }))
  const path = join(folder, 'state', 'ipam.db')
  withDatabase(path, each =>
    each.exec("CREATE TRIGGER full BEFORE DELETE ON lease BEGIN SELECT RAISE(FAIL, 'full'); END"),
  )
  await start()
  t.equal(((await send(socket, { path: '/v1/leases' })).body['leases'] as unknown[]).length, 1, 'nothing is freed')
  t.equal((await post(socket, '/v1/leases', { attachment: attachment('a') })).status, 500, 'its own is done first')
  t.ok(existsSync(file))
  t.match(log.join(''), /spool replay failed.*full/)
})

function withDatabase(path: string, use: (database: DatabaseSync) => void): void {
  const database = new DatabaseSync(path)
  try {
    use(database)
  } finally {
    database.close()
  }
}

t.test('POST /v1/leases carries out the spooled release of the attachment first', async t => {
  const { folder, socket, start } = rig(t)
  await start()
  const first = await post(socket, '/v1/leases', { attachment: attachment('a') })
  const file = join(folder, 'run', 'spool', spoolFileName(attachment('a')))
  writeFileSync(file, encodeSpoolEntry({ attachment: attachment('a'), releasedAtUnixMs: 1 }))
  const second = await post(socket, '/v1/leases', { attachment: attachment('a') })
  t.notOk(existsSync(file))
  t.equal(second.body['isNew'], true)
  t.not(addressesOf(second.body)[0], addressesOf(first.body)[0], 'the old address cools down')
  // What the entry asked for is done: nothing may end the new lease.
  const again = await post(socket, '/v1/leases', { attachment: attachment('a') })
  t.same(again.body, { ...second.body, isNew: false })
})

t.test(
  'the spool is replayed in batches, and what killed writers left behind for an hour is removed (R13)',
  async t => {
    const { folder, socket, start, log } = rig(t)
    const spool = join(folder, 'run', 'spool')
    mkdirSync(spool, { recursive: true, mode: 0o700 })
    const names = Array.from({ length: 600 }, (_, index) => spoolFileName(attachment(`c${index}`)))
    for (const [index, name] of names.entries()) {
      writeFileSync(join(spool, name), encodeSpoolEntry({ attachment: attachment(`c${index}`), releasedAtUnixMs: 1 }))
    }
    const stale = `.${names[0]}.1699990000000`
    const fresh = `.${names[1]}.1700000000000`
    for (const name of [stale, fresh, '.somebody-elses']) writeFileSync(join(spool, name), 'half')
    const nowUnixSeconds = 1_700_000_000
    utimesSync(join(spool, stale), nowUnixSeconds - 3601, nowUnixSeconds - 3601)
    utimesSync(join(spool, fresh), nowUnixSeconds - 3599, nowUnixSeconds - 3599)
    utimesSync(join(spool, '.somebody-elses'), 0, 0)
    await start()
    t.same(readdirSync(spool).toSorted(), ['.somebody-elses', fresh].toSorted())
    t.equal(log.filter(line => line.includes('half-written spool entry removed')).length, 1)
    t.equal((await send(socket, { path: '/healthz' })).status, 200)
  },
)
