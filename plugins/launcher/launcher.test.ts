import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { testLauncher } from './launcher-contract.ts'

testLauncher({ path: join(import.meta.dirname, '../../dist/bin/tulle'), emulator: [], maxBytes: 32 * 1024 })

t.test('replies and environments that were changed at random do no harm', { timeout: 120_000 }, async t => {
  const fuzz = join(t.testdir(), 'fuzz')
  const sources = ['fuzz/fuzz.c', 'reply.c', 'request.c', 'text.c'].map(name => join(import.meta.dirname, name))
  const flags = [
    '-std=gnu17',
    '-O1',
    '-g',
    '-Wall',
    '-Wextra',
    '-Werror',
    '-fsanitize=address,undefined',
    '-fno-sanitize-recover',
  ]
  execFileSync('gcc', [...flags, '-o', fuzz, ...sources])
  const seed = process.env['TULLE_FUZZ_SEED'] ?? String(Math.floor(Math.random() * 2 ** 32))
  t.comment(`TULLE_FUZZ_SEED=${seed}`)
  const rounds = process.env['TULLE_FUZZ_ROUNDS'] ?? '5000'
  t.doesNotThrow(() => execFileSync(fuzz, [seed, rounds], { stdio: ['ignore', 'ignore', 'inherit'] }))
})
