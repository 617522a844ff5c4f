import { existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { post } from '../test-request.ts'
import { startForTest } from './test-daemon.ts'

t.test(
  'POST /v1/backup writes nothing into the folder of the store: the next start could take it for the store',
  async t => {
    await using daemon = await startForTest()
    const state = join(daemon.folder, 'state')
    const before = filesIn(state)
    const [store] = readdirSync(state).filter(name => name.endsWith('.db'))
    symlinkSync(state, join(daemon.folder, 'elsewhere'))
    for (const file of [
      join(state, `${store}.rebuilt`),
      join(daemon.folder, 'elsewhere', `${store}.rebuilt`),
      `${daemon.folder}/run/../state/copy.db`,
      join(state, 'spool', 'copy.db'),
    ]) {
      t.equal((await post(daemon.socket, '/v1/backup', { file })).status, 400, file)
    }
    t.same(filesIn(state), before)
  },
)

t.test('POST /v1/backup follows no link that stands where the file should be', async t => {
  await using daemon = await startForTest()
  const folder = mkdtempSync(join(tmpdir(), 'ipamd-backup-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  symlinkSync(join(folder, 'target'), join(folder, 'link'))
  t.equal((await post(daemon.socket, '/v1/backup', { file: join(folder, 'link') })).status, 400)
  t.notOk(existsSync(join(folder, 'target')))
})

function filesIn(folder: string): ReadonlySet<string> {
  return new Set(readdirSync(folder, { recursive: true }).map(String))
}
