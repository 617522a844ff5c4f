import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import t from 'tap'
import { loadAddon } from '../../native/addon.ts'
import { buildAddon } from '../../native/build.ts'
import { Deadline } from '../time/deadline.ts'
import { MAX_STDIN_BYTES, readStdin } from './stdin.ts'

const ADDON = resolve(import.meta.dirname, '../../dist/bin/lib/tulle.node')
await buildAddon(ADDON)
const addon = loadAddon(ADDON)

/** Reads the file or pipe at `path` as standard input. */
function read(path: string, { flags = 'r', withinMs = 5_000 } = {}): string {
  const fd = openSync(path, flags)
  try {
    return readStdin({ addon, fd, by: Deadline.in(withinMs) })
  } finally {
    closeSync(fd)
  }
}

function fifoIn(folder: string): string {
  const path = join(folder, 'fifo')
  execFileSync('mkfifo', [path])
  return path
}

t.test('readStdin() reads a file, an empty one, and nothing at all', async t => {
  const folder = t.testdir({ config: '{"name":"ünïcode"}', empty: '' })
  t.equal(read(join(folder, 'config')), '{"name":"ünïcode"}')
  t.equal(read(join(folder, 'empty')), '')
  t.equal(read('/dev/null'), '')
})

t.test('readStdin() puts together what a pipe gives in pieces, also within a character', async t => {
  const fifo = fifoIn(t.testdir())
  const writer = spawn('sh', [
    '-c',
    String.raw`{ printf '\303'; printf '\274'; head -c 200000 /dev/zero | tr '\0' x; } > "$0"`,
    fifo,
  ])
  const text = read(fifo)
  t.equal(text, `ü${'x'.repeat(200_000)}`)
  await ended(writer)
})

t.test('readStdin() takes 1 MiB, and not a byte more (C8)', async t => {
  const file = join(t.testdir(), 'config')
  writeFileSync(file, ' '.repeat(MAX_STDIN_BYTES))
  t.equal(read(file).length, MAX_STDIN_BYTES)
  writeFileSync(file, ' '.repeat(MAX_STDIN_BYTES + 1))
  t.throws(() => read(file), { code: 5, message: /it has more than 1048576 bytes$/ })
})

t.test('readStdin() stops reading what is too long: a writer of 100 MB does not get rid of it', async t => {
  const fifo = fifoIn(t.testdir())
  const writer = spawn('dd', ['if=/dev/zero', `of=${fifo}`, 'bs=65536', 'count=1600'], { stdio: 'ignore' })
  const end = ended(writer)
  t.throws(() => read(fifo), { code: 5, message: /more than 1048576 bytes/ })
  t.same(await end, 'SIGPIPE')
})

t.test('readStdin() gives up at its deadline: silence, or a trickle without end (invariant 6)', async t => {
  const fifo = fifoIn(t.testdir())
  // Open for writing too: it never ends.
  t.throws(() => read(fifo, { flags: 'r+', withinMs: 50 }), { code: 5, message: /it did not end in time$/ })
  const writer = spawn('sh', ['-c', 'while echo x; do sleep 0.005; done > "$0"', fifo], { stdio: 'ignore' })
  const end = ended(writer)
  const startedAtMs = performance.now()
  t.throws(() => read(fifo, { withinMs: 100 }), { code: 5, message: /it did not end in time$/ })
  t.ok(performance.now() - startedAtMs < 2_000)
  await end
})

t.test('readStdin() reports what cannot be read, with code 5', async t => {
  t.throws(() => read(t.testdir()), {
    code: 5,
    message: /^Cannot read the configuration from standard input: .*EISDIR/,
  })
})

async function ended(child: ReturnType<typeof spawn>): Promise<unknown> {
  const [exitCode, signal] = (await once(child, 'exit')) as [unknown, unknown]
  return signal ?? exitCode
}
