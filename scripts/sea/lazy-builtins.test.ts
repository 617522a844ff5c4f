import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { build } from 'esbuild'
import t from 'tap'
import { lazyBuiltins } from './lazy-builtins.ts'

/** Imports in every form, and prints which of the three modules are loaded before and after each is used. */
const SOURCE = `
  import * as everything from 'node:sqlite'
  import http, { METHODS } from 'node:http'
  import { createSocket as open } from 'dgram'
  import { basename } from 'node:path'
  const loaded = () => ['sqlite', 'http', 'dgram'].filter(name => process.moduleLoadList.includes('NativeModule ' + name))
  const log = [loaded()]
  new everything.DatabaseSync(':memory:').close()
  log.push(loaded())
  log.push(METHODS.includes('GET') && http.METHODS === METHODS && loaded())
  open('udp4').close()
  log.push(loaded())
  console.log(JSON.stringify([...log, basename('/a/b')]))
`

t.test('lazyBuiltins loads a module when something of it is first used', async t => {
  const folder = t.testdir({ 'main.js': SOURCE })
  const outfile = join(folder, 'bundle.cjs')
  await build({
    entryPoints: [join(folder, 'main.js')],
    outfile,
    bundle: true,
    format: 'cjs',
    platform: 'node',
    logLevel: 'silent',
    plugins: [lazyBuiltins],
  })
  // tap puts an option into the environment of every child that makes Node load one of these modules by itself.
  const command = ['--unset=NODE_OPTIONS', process.execPath, outfile]
  const output = execFileSync('env', command, { timeout: 30_000 }).toString()
  t.strictSame(JSON.parse(output), [[], ['sqlite'], ['sqlite', 'http'], ['sqlite', 'http', 'dgram'], 'b'])
})
