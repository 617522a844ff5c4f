import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import t from 'tap'
import type { DelegateCall } from '../attach/edges.ts'
import { Deadline } from '../time/deadline.ts'
import { runDelegate } from './delegate.ts'

/** Runs a plugin that is this shell script. */
function runScript(
  folder: string,
  script: string,
  { withinMs = 5_000, call = {} }: { readonly withinMs?: number; readonly call?: Partial<DelegateCall> } = {},
): Promise<string> {
  const path = join(folder, 'plugin')
  writeFileSync(path, `#!/bin/sh\n${script}\n`)
  chmodSync(path, 0o755)
  const env = { PATH: process.env['PATH'], CNI_COMMAND: 'CHECK', CNI_IFNAME: 'eth0' }
  const whole: DelegateCall = {
    type: 'plugin',
    command: 'ADD',
    cniPath: [folder],
    configuration: '{"name":"net1"}',
    ...call,
  }
  return runDelegate(whole, { env, by: Deadline.in(withinMs) })
}

t.test(
  'runDelegate() gives the plugin our environment with its own verb, and the configuration on stdin (SPEC section 4)',
  async t => {
    t.equal(await runScript(t.testdir(), 'echo "$CNI_COMMAND $CNI_IFNAME $(cat)"'), 'ADD eth0 {"name":"net1"}\n')
  },
)

t.test('runDelegate() does not mind a plugin that reads no input', async t => {
  const configuration = JSON.stringify({ name: 'x'.repeat(500_000) })
  t.equal(await runScript(t.testdir(), 'echo done', { call: { configuration } }), 'done\n')
})

const FAILURES = [
  {
    name: 'an error document, as the plugin’s own error',
    script: `echo '{"cniVersion":"1.0.0","code":101,"msg":"no addresses","details":"of 253"}'; exit 1`,
    want: { name: 'CniError', code: 101, message: 'plugin: no addresses', details: 'of 253' },
  },
  {
    name: 'garbage',
    script: 'echo oops; exit 3',
    want: { name: 'CniError', code: 104, message: 'IPAM plugin plugin failed: ADD ended with exit code 3' },
  },
  {
    name: 'an object that is no error',
    script: `echo '{"ips":[]}'; exit 1`,
    want: { code: 104, message: /exit code 1$/ },
  },
  { name: 'silence', script: 'exit 1', want: { code: 104, message: /exit code 1$/ } },
  { name: 'a signal', script: 'kill -SEGV $$', want: { code: 104, message: /ADD ended with SIGSEGV$/ } },
] as const
for (const { name, script, want } of FAILURES) {
  t.test(`runDelegate() reports ${name}`, async t => {
    await t.rejects(runScript(t.testdir(), script), want)
  })
}

const ENDLESS = [
  { name: 'that waits', script: 'exec sleep 60' },
  { name: 'that is killed while a process of its own holds the pipe', script: 'sleep 60' },
  { name: 'that ends and leaves a process that holds the pipe', script: 'sleep 60 & exit 0' },
  { name: 'that never reads and never ends', script: 'exec tail -f /dev/null' },
] as const
for (const { name, script } of ENDLESS) {
  t.test(`runDelegate() waits until its deadline, and no longer, for a plugin ${name} (invariant 6)`, async t => {
    const startedAtMs = performance.now()
    await t.rejects(runScript(t.testdir(), script, { withinMs: 200 }), {
      name: 'DeadlineExceeded',
      message: /running the plugin plugin$/,
    })
    const tookMs = performance.now() - startedAtMs
    t.ok(tookMs >= 199 && tookMs < 5_000, `${tookMs} ms`)
  })
}

t.test('runDelegate() kills the plugin at its deadline', async t => {
  const folder = t.testdir()
  await t.rejects(runScript(folder, `echo $$ > ${folder}/pid; exec sleep 60`, { withinMs: 300 }), {
    name: 'DeadlineExceeded',
  })
  const pid = Number(readFileSync(join(folder, 'pid'), 'utf8'))
  while (isRunning(pid)) await new Promise(resolve => setImmediate(resolve))
  t.pass('it is gone')
})

t.test('runDelegate() starts nothing after the deadline', async t => {
  const folder = t.testdir()
  await t.rejects(runScript(folder, `touch ${folder}/ran`, { withinMs: 0 }), { name: 'DeadlineExceeded' })
  t.throws(() => readFileSync(join(folder, 'ran')), { code: 'ENOENT' })
})

t.test('runDelegate() takes 1 MiB of output, and ends a plugin that prints more', async t => {
  const print = (bytes: number) => `head -c ${bytes} /dev/zero | tr '\\0' x`
  t.equal((await runScript(t.testdir(), print(1024 * 1024))).length, 1024 * 1024)
  await t.rejects(runScript(t.testdir(), print(1024 * 1024 + 1)), {
    code: 104,
    message: /it printed more than 1048576 bytes$/,
  })
  await t.rejects(runScript(t.testdir(), 'exec cat /dev/zero'), {
    code: 104,
    message: /it printed more than 1048576 bytes$/,
  })
})

t.test('runDelegate() looks through CNI_PATH in order, past what cannot be executed', async t => {
  const folder = t.testdir({ empty: {}, text: { plugin: 'not executable' }, good: {} })
  const cniPath = ['empty', 'text', 'good'].map(name => join(folder, name))
  t.equal(await runScript(join(folder, 'good'), 'echo found', { call: { cniPath } }), 'found\n')
})

t.test('runDelegate() names the plugin that is nowhere, and where it looked (code 7)', async t => {
  const lost = (cniPath: readonly string[]) => runScript(t.testdir(), '', { call: { type: 'host-local', cniPath } })
  await t.rejects(lost(['/a', '/b']), {
    code: 7,
    message: 'IPAM plugin host-local is in none of the folders of CNI_PATH: /a:/b',
  })
  await t.rejects(lost([]), { code: 7, message: /CNI_PATH: \(empty\)$/ })
})

t.test('runDelegate() reports what cannot be started', async t => {
  const folder = t.testdir({ plugin: '#!/no/such/interpreter\n' })
  chmodSync(join(folder, 'plugin'), 0o755)
  const call = { type: 'plugin', command: 'DEL', cniPath: [folder], configuration: '{}' } as const
  await t.rejects(runDelegate(call, { env: {}, by: Deadline.in(5_000) }), { code: 104, message: /ENOENT/ })
})

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
