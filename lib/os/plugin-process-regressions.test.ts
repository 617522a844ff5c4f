import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import process from 'node:process'
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'

const SUBJECT = JSON.stringify(join(import.meta.dirname, 'plugin-process.ts'))

function runProgram(program: string) {
  const source = `import { printOutcome, stderrLog } from ${SUBJECT}\nimport { Socket } from 'node:net'\n${program}`
  return spawn(process.execPath, ['--input-type=module', '--eval', source], { stdio: ['pipe', 'pipe', 'pipe'] })
}

t.test('stderrLog() loses a line that nobody reads, and does not fail the verb (EPIPE)', async t => {
  const child = runProgram(`
    await new Promise(resolve => process.stdin.once('data', resolve).resume())
    process.stdin.pause()
    stderrLog('tulle')('release spooled')
    printOutcome({ stdout: '{}\\n', stderr: 'about', exitCode: 0 })`)
  child.stderr.destroy()
  await once(child.stderr, 'close')
  const chunks: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
  child.stdin.end('go')
  const [exitCode] = (await once(child, 'close')) as [number]
  t.same([exitCode, Buffer.concat(chunks).toString()], [0, '{}\n'])
})

t.test('stderrLog() names the trace that the run belongs to (E11)', async t => {
  const child = runProgram(`
    stderrLog('tulle', { traceparent: '00-a-b-01' })('release spooled')
    stderrLog('tulle', {})('release spooled')`)
  const chunks: Buffer[] = []
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(child, 'close')
  t.equal(Buffer.concat(chunks).toString(), 'tulle: release spooled traceparent=00-a-b-01\ntulle: release spooled\n')
})

t.test('printOutcome() prints all of a document into a full pipe that does not block (O8, EAGAIN)', async t => {
  const child = runProgram(`
    new Socket({ fd: 1, readable: false }) // switches the pipe to non-blocking mode
    printOutcome({ stdout: 'x'.repeat(2_000_000), stderr: '', exitCode: 0 })`)
  // The pipe is full before anything is read.
  while (child.stdout.readableLength === 0) await nextTurn()
  let length = 0
  child.stdout.on('data', (chunk: Buffer) => (length += chunk.length))
  const [exitCode] = (await once(child, 'close')) as [number]
  t.same([exitCode, length], [0, 2_000_000])
})
