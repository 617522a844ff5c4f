import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { decodeSpoolEntry, spoolFileName } from '../ipam/spool-entry.ts'
import { writeDurably } from './durable-file.ts'
import { spoolRelease } from './spool.ts'

const ATTACHMENT = { network: 'net1', containerId: 'c1', ifName: 'eth0' }
const FILE = spoolFileName(ATTACHMENT)

t.test('spoolRelease() keeps an entry that ipamd can read, for root alone (R13)', async t => {
  const folder = t.testdir()
  spoolRelease(join(folder, 'ipamd.sock'), { attachment: ATTACHMENT, releasedAtUnixMs: 5 })
  const spool = join(folder, 'spool')
  t.same(readdirSync(spool), [FILE], 'nothing but the entry')
  t.same(decodeSpoolEntry(readFileSync(join(spool, FILE), 'utf8')), {
    attachment: ATTACHMENT,
    addresses: undefined,
    releasedAtUnixMs: 5,
  })
  t.same([statSync(spool).mode & 0o777, statSync(join(spool, FILE)).mode & 0o777], [0o700, 0o600])
})

t.test('spoolRelease() replaces the entry of the same attachment, and keeps those of others', async t => {
  const folder = t.testdir()
  const socketPath = join(folder, 'ipamd.sock')
  const other = { ...ATTACHMENT, containerId: 'c2' }
  spoolRelease(socketPath, { attachment: ATTACHMENT, releasedAtUnixMs: 5 })
  spoolRelease(socketPath, { attachment: other, releasedAtUnixMs: 6 })
  spoolRelease(socketPath, { attachment: ATTACHMENT, releasedAtUnixMs: 7 })
  t.same(readdirSync(join(folder, 'spool')).toSorted(), [FILE, spoolFileName(other)].toSorted())
  t.equal(decodeSpoolEntry(readFileSync(join(folder, 'spool', FILE), 'utf8')).releasedAtUnixMs, 7)
})

t.test('writeDurably() leaves the old text when it cannot write the new one, and no other file (R41)', async t => {
  const folder = t.testdir({ file: 'old' })
  // A folder cannot be replaced by a file: rename fails after everything else was done.
  mkdirSync(join(folder, 'taken', 'full'), { recursive: true })
  t.throws(() => writeDurably(join(folder, 'taken'), 'new', 'x'), /rename/)
  // Somebody has the temporary name: it is not ours to write to.
  writeFileSync(join(folder, '.file.x'), 'somebody else')
  t.throws(() => writeDurably(join(folder, 'file'), 'new', 'x'), { code: 'EEXIST' })
  t.equal(readFileSync(join(folder, 'file'), 'utf8'), 'old')
  t.same(
    readdirSync(folder).filter(name => name.startsWith('.taken')),
    [],
  )
  t.throws(() => writeDurably(join(folder, 'no/such/folder'), 'new', 'x'), { code: 'ENOENT' })
})

t.test('writeDurably() writes for root alone, whatever was there before', async t => {
  const folder = t.testdir({ file: 'a longer old text' })
  chmodSync(join(folder, 'file'), 0o666)
  writeDurably(join(folder, 'file'), 'new', 'x')
  t.equal(readFileSync(join(folder, 'file'), 'utf8'), 'new')
  t.equal(statSync(join(folder, 'file')).mode & 0o777, 0o600)
})
