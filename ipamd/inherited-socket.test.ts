import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { buildAddon } from '../native/build.ts'
import { inheritedSocket } from './inherited-socket.ts'
import { send } from './test-request.ts'

const ROOT = join(import.meta.dirname, '..')
const ADDON = join(ROOT, 'dist', 'bin', 'lib', 'tulle.node')
await buildAddon(ADDON)

/** In a network namespace of its own where that is possible: ipamd adds routes, and the machine's are not the test's to change. */
const ISOLATED = process.getuid?.() === 0 ? 'exec unshare --net -- ' : 'exec '

for (const { name, env, want } of [
  { name: 'is the third descriptor when it is meant for us', env: { LISTEN_PID: '7', LISTEN_FDS: '1' }, want: 3 },
  { name: 'is none when it is meant for another process', env: { LISTEN_PID: '8', LISTEN_FDS: '1' }, want: undefined },
  { name: 'is none without systemd', env: {}, want: undefined },
]) {
  t.test(`inheritedSocket() ${name}`, async t => t.equal(inheritedSocket(env, 7), want))
}

t.test('inheritedSocket() refuses more than one', async t => {
  t.throws(() => inheritedSocket({ LISTEN_PID: '7', LISTEN_FDS: '2' }, 7), {
    message: 'LISTEN_FDS: "2": want one socket',
  })
})

/** A folder with a configuration, and a socket that listens at `socketName` in it. */
async function folderWithSocket(socketName: string) {
  const folder = mkdtempSync(join(tmpdir(), 'ipamd-fd-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  mkdirSync(join(folder, 'run'), { mode: 0o700 })
  const config = join(folder, 'ipamd.json')
  const socket = join(folder, 'run', 'ipamd.sock')
  writeFileSync(
    config,
    JSON.stringify({ socket, stateDir: join(folder, 'state'), pools: [{ name: 'p', prefixes: ['10.0.0.0/24'] }] }),
  )
  const entry = join(folder, 'entry.ts')
  const main = JSON.stringify(join(ROOT, 'ipamd', 'main.ts'))
  writeFileSync(entry, `import { main } from ${main}\nawait main({ addonPath: ${JSON.stringify(ADDON)} })\n`)
  const path = join(folder, 'run', socketName)
  const server = createServer()
  await new Promise<void>(resolve => server.listen(path, resolve))
  return { socket, path, config, entry, server }
}

/** Starts ipamd as systemd does: with the socket as descriptor 3, and its own process ID in the environment. */
async function activate(
  entry: string,
  { config, server, path, isolated }: { config: string; server: Server; path: string; isolated: string },
) {
  const handle: unknown = Reflect.get(server, '_handle')
  const fd = Reflect.get(handle as object, 'fd') as number
  const script = `export LISTEN_PID=$$ LISTEN_FDS=1; ${isolated}"$0" "$1" --config "$2"`
  const child = spawn('sh', ['-c', script, process.execPath, entry, config], {
    stdio: ['ignore', 'ignore', 'pipe', fd],
  })
  t.teardown(() => child.kill('SIGKILL'))
  // Our own handle goes, so that only the child accepts; closing it would remove the file, which is out of the way meanwhile.
  renameSync(path, `${path}.kept`)
  await new Promise<unknown>(resolve => server.close(resolve))
  renameSync(`${path}.kept`, path)
  return child
}

t.test('main() serves on the socket that it was started with, and leaves it there', async t => {
  const { socket, path, config, entry, server } = await folderWithSocket('ipamd.sock')
  const { ino } = statSync(socket)
  const child = await activate(entry, { config, server, path, isolated: ISOLATED })
  // Nobody has to wait until it is ready: the connection is made, and answered when it serves.
  t.same((await send(socket, { path: '/readyz' })).body, { ready: true })
  t.equal(statSync(socket).ino, ino, 'the same socket')
  t.equal(statSync(socket).mode & 0o777, 0o600)
  child.kill('SIGTERM')
  t.same(await once(child, 'exit'), [0, null])
  t.ok(existsSync(socket), 'whoever made it keeps it')
})

t.test('main() refuses a socket at another path than the configured one', async t => {
  const { socket, path, config, entry, server } = await folderWithSocket('other.sock')
  // Not isolated: the path can only be seen in the namespace that the socket is of, and nothing is done before it is refused.
  const child = await activate(entry, { config, server, path, isolated: 'exec ' })
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk))
  t.same(await once(child, 'close'), [1, null])
  t.match(
    stderr,
    `ipamd: ${config}: Cannot listen on descriptor 3: it is the socket ${path}, want ${socket} as configured`,
  )
})
