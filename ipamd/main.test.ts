import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import t, { type Test } from 'tap'
import { buildAddon } from '../native/build.ts'
import { post } from './test-request.ts'

const ROOT = join(import.meta.dirname, '..')
const ADDON = join(ROOT, 'dist', 'bin', 'lib', 'tulle.node')
await buildAddon(ADDON)

const READY_TIMEOUT_MS = 20_000

/** In a network namespace of its own where that is possible: ipamd adds routes, and the machine's are not the test's to change. */
const ISOLATED = process.getuid?.() === 0 ? ['unshare', '--net', '--'] : []

/** A folder with a configuration, and with a program that runs main(). */
function folderWith(t: Test, config: (folder: string) => object): { folder: string; config: string; entry: string } {
  const folder = mkdtempSync(join(tmpdir(), 'ipamd-main-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const entry = join(folder, 'entry.ts')
  const main = JSON.stringify(join(ROOT, 'ipamd', 'main.ts'))
  writeFileSync(entry, `import { main } from ${main}\nawait main({ addonPath: ${JSON.stringify(ADDON)} })\n`)
  const path = join(folder, 'ipamd.json')
  writeFileSync(path, JSON.stringify(config(folder)))
  return { folder, config: path, entry }
}

function goodConfig(folder: string): object {
  return {
    socket: join(folder, 'run', 'ipamd.sock'),
    stateDir: join(folder, 'state'),
    pools: [{ name: 'p', prefixes: ['10.0.0.0/24'] }],
  }
}

async function untilReady(child: ChildProcess): Promise<void> {
  if (child.stderr === null) throw new Error('stderr is not piped')
  const deadline = AbortSignal.timeout(READY_TIMEOUT_MS)
  const lines = createInterface({ input: child.stderr, signal: deadline })
  for await (const line of lines) if ((JSON.parse(line) as { msg: string }).msg === 'ready') return
  throw new Error('ipamd ended, or was not ready in time')
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  t.test(`main() ends soon after ${signal}, with nothing lost and no socket left`, async t => {
    const { folder, config, entry } = folderWith(t, goodConfig)
    const socket = join(folder, 'run', 'ipamd.sock')
    const [command, ...args] = [...ISOLATED, process.execPath, entry, '--config', config]
    const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    t.teardown(() => child.kill('SIGKILL'))
    await untilReady(child)
    const attachment = { network: 'net', containerId: 'a', ifName: 'eth0' }
    t.equal((await post(socket, '/v1/leases', { attachment })).status, 200)
    const sentAtMs = performance.now()
    child.kill(signal)
    t.same(await once(child, 'exit'), [0, null])
    // Far more than it takes, and less than any wait that could be left in it.
    t.ok(performance.now() - sentAtMs < 4000, `${performance.now() - sentAtMs} ms`)
    t.notOk(existsSync(socket))
    t.notOk(existsSync(join(folder, 'state', 'ipam.db-wal')), 'the write-ahead log is in the main file')
  })
}

interface Ended {
  readonly code: unknown
  readonly stdout: string
  readonly stderr: string
}

function run(entry: string, args: readonly string[]): Promise<Ended> {
  return new Promise(resolve => {
    execFile(process.execPath, [entry, ...args], { timeout: READY_TIMEOUT_MS }, (error, stdout, stderr) => {
      resolve({ code: error?.code ?? 0, stdout, stderr })
    })
  })
}

t.test('main() says in one line why it does not start', async t => {
  const { config, entry } = folderWith(t, folder => ({ ...goodConfig(folder), colour: 'red' }))
  t.same(await run(entry, ['--config', config]), {
    code: 1,
    stdout: '',
    stderr: `ipamd: ${config}: colour: unknown key\n`,
  })
  const missing = await run(entry, ['--config', '/nowhere/ipamd.json'])
  t.match(missing, { code: 1, stderr: /^ipamd: \/nowhere\/ipamd.json: ENOENT: [^\n]*\n$/ })
})

t.test('main() prints help and version, and refuses unknown arguments', async t => {
  const { entry } = folderWith(t, goodConfig)
  t.match(await run(entry, ['--help']), { code: 0, stdout: /^Usage: ipamd / })
  t.match(await run(entry, ['--version']), { code: 0, stdout: /^ipamd \d+\.\d+\.\d+\n$/ })
  t.match(await run(entry, ['--colour']), { code: 2, stdout: '', stderr: /^ipamd: Unknown option '--colour'/ })
})
