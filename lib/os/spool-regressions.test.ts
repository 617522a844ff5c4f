import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { writeDurably } from './durable-file.ts'
import { spoolRelease } from './spool.ts'

t.test('spoolRelease() reports a spool that cannot be written to with code 5, and says what helps', async t => {
  const attachment = { network: 'net1', containerId: 'c1', ifName: 'eth0' }
  const socketPath = join(t.testdir({ run: 'a file' }), 'run/ipamd.sock')
  t.throws(() => spoolRelease(socketPath, { attachment, releasedAtUnixMs: 5 }), {
    name: 'CniError',
    code: 5,
    message:
      /^Cannot keep the release of net1\/c1\/eth0 in .*\/run\/spool: ENOTDIR.*; want a folder to write to, or an ipamd that answers$/,
  })
})

t.test('writeDurably() does not remove a temporary file that another writer has', async t => {
  const folder = t.testdir()
  writeFileSync(join(folder, '.file.x'), 'somebody else')
  t.throws(() => writeDurably(join(folder, 'file'), 'new', 'x'), { code: 'EEXIST' })
  t.equal(readFileSync(join(folder, '.file.x'), 'utf8'), 'somebody else')
})
