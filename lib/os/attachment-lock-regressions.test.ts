import { readdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { attachmentHash } from '../ipam/attachment.ts'
import { Deadline } from '../time/deadline.ts'
import { takeAttachmentLock } from './attachment-lock.ts'

const ATTACHMENT = { network: 'net1', containerId: 'c1', ifName: 'eth0' }
/** Files are what this is about: nobody else asks for a lock. */
const addon = { tryLock: () => true }

t.test('takeAttachmentLock() reports a folder that cannot be written to with code 5, and names it', async t => {
  const socketPath = join(t.testdir({ run: 'a file' }), 'run/ipamd.sock')
  const taking = takeAttachmentLock(ATTACHMENT, { addon, socketPath, by: Deadline.in(1_000) })
  await t.rejects(taking, {
    name: 'CniError',
    code: 5,
    message: /^Cannot lock the attachment in .*\/run\/locks: ENOTDIR.*; want a folder to write to$/,
  })
})

t.test('takeAttachmentLock() follows no link out of its folder', async t => {
  const folder = t.testdir({ locks: {} })
  symlinkSync(join(folder, 'elsewhere'), join(folder, 'locks', attachmentHash(ATTACHMENT)))
  const taking = takeAttachmentLock(ATTACHMENT, {
    addon,
    socketPath: join(folder, 'ipamd.sock'),
    by: Deadline.in(1_000),
  })
  await t.rejects(taking, { code: 5, message: /ELOOP/ })
  t.same(readdirSync(folder), ['locks'])
})

t.test('takeAttachmentLock() given back leaves the file of another holder alone', async t => {
  const folder = t.testdir({ locks: {} })
  const file = join(folder, 'locks', attachmentHash(ATTACHMENT))
  {
    using _lock = await takeAttachmentLock(ATTACHMENT, {
      addon,
      socketPath: join(folder, 'ipamd.sock'),
      by: Deadline.in(1_000),
    })
    // The folder was cleared, and the next one came.
    renameSync(file, `${file}.cleared`)
    writeFileSync(file, '')
  }
  t.same(readdirSync(join(folder, 'locks')).includes(attachmentHash(ATTACHMENT)), true)
})
