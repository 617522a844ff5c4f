import { existsSync } from 'node:fs'
import t from 'tap'
import { preparePrivateFolder } from './folders.ts'

t.test('preparePrivateFolder() refuses the folders of the system and of other programs', async t => {
  // As a user that owns none of them: whatever the test finds, nothing is changed. What is not there would be made.
  const nobody = -1
  const shared = ['/', '/bin', '/boot', '/etc', '/proc', '/sys', '/usr', '/usr/bin', '/usr/lib', '/var/lib', '/var/log']
  for (const path of shared.filter(path => existsSync(path))) {
    t.throws(() => preparePrivateFolder(path, nobody), { message: /others use it too/ }, path)
  }
  t.throws(() => preparePrivateFolder('/etc/ssl', nobody), { message: /belongs to user 0, not to -1/ })
})
