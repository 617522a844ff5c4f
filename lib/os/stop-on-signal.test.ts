import { EventEmitter } from 'node:events'
import t from 'tap'
import { jsonLog } from '../log/json-log.ts'
import { stopOnSignal, type StoppableProcess } from './stop-on-signal.ts'

function start(close: () => Promise<void>): {
  readonly emitter: EventEmitter
  readonly log: string[]
  readonly exitCode: () => unknown
} {
  const emitter = new EventEmitter()
  const process = Object.assign(emitter, { exitCode: undefined }) as unknown as StoppableProcess
  const log: string[] = []
  stopOnSignal({ close }, { from: process, log: jsonLog(line => log.push(line)) })
  return { emitter, log, exitCode: () => process.exitCode }
}

t.test('stopOnSignal() closes once, whatever comes meanwhile', async t => {
  let closed = 0
  const { emitter, log, exitCode } = start(async () => void (closed += 1))
  for (const signal of ['SIGTERM', 'SIGTERM', 'SIGINT']) emitter.emit(signal, signal)
  await new Promise(setImmediate)
  t.equal(closed, 1)
  t.equal(log.length, 2)
  t.match(log[0], 'SIGTERM')
  t.match(log[1], 'stopped')
  t.equal(exitCode(), undefined)
})

t.test('stopOnSignal() ends with exit code 1 when closing fails, and says why', async t => {
  const { emitter, log, exitCode } = start(async () => {
    throw new Error('the disk is gone')
  })
  emitter.emit('SIGINT', 'SIGINT')
  await new Promise(setImmediate)
  t.match(log[1], 'the disk is gone')
  t.equal(exitCode(), 1)
})
