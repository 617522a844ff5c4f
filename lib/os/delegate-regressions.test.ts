import { chmodSync, closeSync, mkdirSync, openSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import t from 'tap'
import { Deadline } from '../time/deadline.ts'
import { runDelegate } from './delegate.ts'

const CALL = { type: 'plugin', command: 'ADD', configuration: '{}' } as const
const env = { PATH: process.env['PATH'] }

function plugin(folder: string, script: string): string {
  const path = join(folder, 'plugin')
  writeFileSync(path, `#!/bin/sh\n${script}\n`)
  chmodSync(path, 0o755)
  return path
}

t.test('runDelegate() waits for an executable that somebody is still writing (checklist 1.11, ETXTBSY)', async t => {
  const folder = t.testdir()
  const writer = openSync(plugin(folder, 'echo done'), 'r+')
  const running = runDelegate({ ...CALL, cniPath: [folder] }, { env, by: Deadline.in(5_000) })
  closeSync(writer)
  t.equal(await running, 'done\n')
})

t.test('runDelegate() waits no longer for it than its deadline, and names the plugin', async t => {
  const folder = t.testdir()
  const writer = openSync(plugin(folder, 'echo done'), 'r+')
  t.teardown(() => closeSync(writer))
  const running = runDelegate({ ...CALL, cniPath: [folder] }, { env, by: Deadline.in(100) })
  await t.rejects(running, { code: 104, message: /^IPAM plugin plugin failed: .*ETXTBSY/ })
})

t.test('runDelegate() takes a folder of that name for no plugin', async t => {
  const folder = t.testdir({ first: {}, second: {} })
  mkdirSync(join(folder, 'first', 'plugin'))
  plugin(join(folder, 'second'), 'echo found')
  const cniPath = ['first', 'second'].map(name => join(folder, name))
  t.equal(await runDelegate({ ...CALL, cniPath }, { env, by: Deadline.in(5_000) }), 'found\n')
})

for (const code of ['0', '-1', '1.5']) {
  t.test(`runDelegate() passes no error on with the code ${code}: a runtime could not read it (O7)`, async t => {
    const folder = t.testdir()
    plugin(folder, `echo '{"code":${code},"msg":"x"}'; exit 1`)
    await t.rejects(runDelegate({ ...CALL, cniPath: [folder] }, { env, by: Deadline.in(5_000) }), {
      code: 104,
      message: /exit code 1$/,
    })
  })
}
