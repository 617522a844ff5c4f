import { cpus, release, totalmem } from 'node:os'
import type { Machine } from './report/samples.ts'

/** This machine, as the reader of a measurement has to know it. */
export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryMiB: Math.round(totalmem() / 2 ** 20),
    kernel: release(),
    node: process.version,
  }
}
