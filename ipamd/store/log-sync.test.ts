import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LogSync } from './log-sync.ts'

// That what is waited for is on the disk is what e2e/netns/ipamd-power-loss.netns.ts is about.

function fileOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'tulle-log-sync-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'log')
  writeFileSync(path, '')
  return path
}

t.test('what is written while a wait is under way shares the next one', async t => {
  const log = new LogSync(fileOf(t))
  t.teardown(() => log.close())
  const ended: string[] = []
  const wait = (name: string): Promise<unknown> => log.whenSynced().then(() => ended.push(name))
  log.noteWrite()
  const first = wait('first')
  // It begins in a later microtask.
  await Promise.resolve()
  await Promise.resolve()
  log.noteWrite()
  const second = log.whenSynced()
  log.noteWrite()
  t.equal(log.whenSynced(), second)
  await Promise.all([wait('second'), first])
  t.same(ended, ['first', 'second'])
})

t.test('nothing to wait for is done at once, and opens nothing', async t => {
  const log = new LogSync('/nowhere/log')
  await log.whenSynced()
  log.close()
  t.pass()
})

t.test('a wait that failed is the answer ever after', async t => {
  const log = new LogSync('/dev/null')
  log.noteWrite()
  await t.rejects(log.whenSynced(), { code: 'EINVAL' })
  await t.rejects(log.whenSynced(), { code: 'EINVAL' }, 'also for who wrote nothing since')
  log.noteWrite()
  await t.rejects(log.whenSynced(), { code: 'EINVAL' })
  t.throws(() => log.close(), { code: 'EINVAL' })
})

t.test('close() waits itself, ends every wait, and leaves no descriptor', async t => {
  const path = fileOf(t)
  const log = new LogSync(path)
  log.noteWrite()
  const first = log.whenSynced()
  log.noteWrite()
  const second = log.whenSynced()
  log.close()
  await Promise.all([first, second])
  // The descriptor goes in a microtask behind the wait that had it.
  await Promise.resolve()
  t.notOk(readdirSync('/proc/self/fd').some(fd => targetOf(fd) === path))
})

function targetOf(fd: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    // The one that listed the folder is closed by now.
    return undefined
  }
}
