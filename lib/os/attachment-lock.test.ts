import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import t from 'tap'
import { loadAddon } from '../../native/addon.ts'
import { buildAddon } from '../../native/build.ts'
import { Deadline, DeadlineExceeded } from '../time/deadline.ts'
import { takeAttachmentLock } from './attachment-lock.ts'

const ADDON = resolve(import.meta.dirname, '../../dist/bin/lib/tulle.node')
await buildAddon(ADDON)
const addon = loadAddon(ADDON)
const ATTACHMENT = { network: 'net1', containerId: 'c1', ifName: 'eth0' }

function folderOf(t: { testdir(): string }): { readonly socketPath: string; readonly locks: string } {
  const folder = t.testdir()
  return { socketPath: join(folder, 'run/ipamd.sock'), locks: join(folder, 'run/locks') }
}

t.test('takeAttachmentLock() makes its folder for root alone, and leaves no file behind', async t => {
  const { socketPath, locks } = folderOf(t)
  {
    using _lock = await takeAttachmentLock(ATTACHMENT, { addon, socketPath, by: Deadline.in(1_000) })
    t.equal(readdirSync(locks).length, 1)
    t.equal(statSync(locks).mode & 0o777, 0o700)
  }
  t.same(readdirSync(locks), [])
})

t.test('takeAttachmentLock() lets in one at a time: no two hold the lock together', async t => {
  const { socketPath, locks } = folderOf(t)
  let holders = 0
  let most = 0
  async function work(): Promise<void> {
    using _lock = await takeAttachmentLock(ATTACHMENT, { addon, socketPath, by: Deadline.in(10_000) })
    most = Math.max(most, ++holders)
    // Others get their turn to come in, if they can.
    await takeAttachmentLock(
      { ...ATTACHMENT, containerId: 'other' },
      { addon, socketPath, by: Deadline.in(10_000) },
    ).then(lock => lock[Symbol.dispose]())
    holders--
  }
  await Promise.all(Array.from({ length: 20 }, work))
  t.same([most, holders], [1, 0])
  t.same(readdirSync(locks), [])
})

t.test('takeAttachmentLock() waits no longer than its deadline, and names the attachment (invariant 6)', async t => {
  const { socketPath } = folderOf(t)
  using _held = await takeAttachmentLock(ATTACHMENT, { addon, socketPath, by: Deadline.in(1_000) })
  const startedAtMs = performance.now()
  await t.rejects(takeAttachmentLock(ATTACHMENT, { addon, socketPath, by: Deadline.in(50) }), DeadlineExceeded)
  t.ok(performance.now() - startedAtMs < 5_000)
  await t.rejects(
    takeAttachmentLock(ATTACHMENT, { addon, socketPath, by: Deadline.in(0) }),
    /the lock of net1\/c1\/eth0$/,
  )
})

t.test('takeAttachmentLock() keeps attachments apart', async t => {
  const { socketPath } = folderOf(t)
  using _held = await takeAttachmentLock(ATTACHMENT, { addon, socketPath, by: Deadline.in(1_000) })
  for (const other of [{ network: 'net2' }, { containerId: 'c2' }, { ifName: 'eth1' }]) {
    using _other = await takeAttachmentLock({ ...ATTACHMENT, ...other }, { addon, socketPath, by: Deadline.in(0) })
  }
})

t.test(
  'takeAttachmentLock() is not held up by a file that a dead holder left, and works when the folder is cleared',
  async t => {
    const { socketPath, locks } = folderOf(t)
    const holder = await killedHolder(socketPath)
    t.equal(holder, 'SIGKILL')
    t.equal(readdirSync(locks).length, 1, 'the file is still there')
    {
      using _lock = await takeAttachmentLock(ATTACHMENT, { addon, socketPath, by: Deadline.in(1_000) })
      rmSync(locks, { recursive: true })
      mkdirSync(locks)
    }
    t.same(readdirSync(dirname(locks)), ['locks'])
  },
)

/** A process takes the lock and is killed while it has it. */
async function killedHolder(socketPath: string): Promise<unknown> {
  const program = `
    import { takeAttachmentLock } from ${JSON.stringify(join(import.meta.dirname, 'attachment-lock.ts'))}
    import { Deadline } from ${JSON.stringify(resolve(import.meta.dirname, '../time/deadline.ts'))}
    import { loadAddon } from ${JSON.stringify(resolve(import.meta.dirname, '../../native/addon.ts'))}
    const addon = loadAddon(${JSON.stringify(ADDON)})
    const options = { addon, socketPath: ${JSON.stringify(socketPath)}, by: Deadline.in(5000) }
    const lock = await takeAttachmentLock(${JSON.stringify(ATTACHMENT)}, options)
    console.log('held')
    setInterval(() => lock, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  // While it lives nobody else gets the lock.
  await t.rejects(takeAttachmentLock(ATTACHMENT, { addon, socketPath, by: Deadline.in(30) }), DeadlineExceeded)
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  const [, signal] = (await ended) as [unknown, unknown]
  return signal
}
