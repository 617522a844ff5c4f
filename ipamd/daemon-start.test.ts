import { existsSync, chmodSync, mkdirSync, renameSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { jsonLog } from '../lib/log/json-log.ts'
import { type DaemonEdges, start as startDaemon } from './daemon.ts'
import { addon, rig } from './fake-machine.ts'
import { send } from './test-request.ts'

t.test('folders are private, also those that existed with wider permissions', async t => {
  const { folder, socket, start } = rig(t)
  mkdirSync(join(folder, 'state'), { mode: 0o755 })
  mkdirSync(join(folder, 'run'), { mode: 0o755 })
  chmodSync(join(folder, 'run'), 0o777)
  await start()
  const modes = [join(folder, 'state'), join(folder, 'run'), join(folder, 'run', 'spool'), socket].map(
    path => statSync(path).mode & 0o777,
  )
  t.same(modes, [0o700, 0o700, 0o700, 0o600])
})

t.test('start() refuses a folder that others use', async t => {
  const { config, start: _, ...made } = rig(t)
  const modeBefore = statSync('/tmp').mode
  for (const change of [{ stateDir: '/tmp' }, { stateDir: '/var/lib' }, { socketPath: '/run/ipamd.sock' }]) {
    const attempt = startDaemon({ ...config, ...change }, edgesThatFail(made.log))
    await t.rejects(attempt, { message: /Cannot use folder .*: others use it too/ }, JSON.stringify(change))
  }
  t.equal(statSync('/tmp').mode, modeBefore)
})

function edgesThatFail(log: string[]): DaemonEdges {
  function unwanted(): never {
    throw new Error('not wanted')
  }
  return {
    log: jsonLog(line => log.push(line)),
    pid: 1,
    uid: process.getuid?.() ?? 0,
    nowUnixMs: unwanted,
    uptimeMs: unwanted,
    boot: { bootId: 'b', initStartTicks: 1, hostNetnsInode: 2 },
    tryLock: unwanted,
    peerCredentials: unwanted,
    onBlockTaken: unwanted,
    readMarks: unwanted,
    onBlockReturned: unwanted,
  }
}

t.test('start() refuses a second daemon on the same state folder, and on the same socket', async t => {
  const { folder, config, start, log } = rig(t)
  await start()
  await t.rejects(start(), {
    message: new RegExp(`state folder ${folder}/state: another ipamd \\(process ${process.pid}\\) uses it`),
  })
  const sameSocket = { ...config, stateDir: join(folder, 'state2') }
  const edges = { ...edgesThatFail(log), tryLock: (fd: number) => addon.tryLock(fd) }
  await t.rejects(startDaemon(sameSocket, edges), {
    message: /socket .*ipamd.sock: another ipamd \(process \d+\) uses it/,
  })
  t.equal((await send(config.socketPath, { path: '/healthz' })).status, 200, 'the first one still answers')
})

t.test('start() waits for a daemon that ends, and then serves what that has stored', async t => {
  const { config, start } = rig(t)
  const first = await start()
  const starting = start({ waitMs: 60_000 })
  await first.close()
  await starting
  t.equal((await send(config.socketPath, { path: '/healthz' })).status, 200)
})

t.test('close() gives the lock of the socket the time of now: the launcher waits for the next daemon', async t => {
  const { config, start } = rig(t)
  const daemon = await start()
  const file = `${config.socketPath}.lock`
  utimesSync(file, 0, 0)
  await daemon.close()
  t.ok(Date.now() - statSync(file).mtimeMs < 60_000)
})

t.test('start() replaces a stale socket and leaves a foreign one alone', async t => {
  const { folder, socket, start } = rig(t)
  mkdirSync(join(folder, 'run'), { mode: 0o700 })
  const foreign = createServer()
  await new Promise<void>(resolve => foreign.listen(socket, resolve))
  await t.rejects(start(), { message: /another process listens on it/ })
  t.ok(existsSync(socket))
  // Node removes the file of a server that it closes: put one there that nobody listens on.
  const stale = join(folder, 'stale.sock')
  renameSync(socket, stale)
  await new Promise<void>(resolve => foreign.close(() => resolve()))
  renameSync(stale, socket)
  await start()
  t.equal((await send(socket, { path: '/healthz' })).status, 200)
})

t.test('start() refuses a path that is no socket', async t => {
  const { folder, socket, start } = rig(t)
  mkdirSync(join(folder, 'run'), { mode: 0o700 })
  writeFileSync(socket, 'precious')
  await t.rejects(start(), { message: /it exists and is no socket/ })
  t.ok(existsSync(socket))
})
