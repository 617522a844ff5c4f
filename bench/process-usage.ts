import { readFileSync } from 'node:fs'

/** What a process holds of memory. */
export interface Held {
  readonly residentKib: number
  /** What is shared with others counts by its share. */
  readonly proportionalKib: number
  /** The most that was ever resident. */
  readonly peakKib: number
}

/** @throws {Error} when the process has ended. */
export function heldBy(pid: number): Held {
  return {
    residentKib: kibIn(`/proc/${pid}/smaps_rollup`, 'Rss'),
    proportionalKib: kibIn(`/proc/${pid}/smaps_rollup`, 'Pss'),
    peakKib: kibIn(`/proc/${pid}/status`, 'VmHWM'),
  }
}

/** Processor time of a process and of its threads, ended ones too, in milliseconds; the kernel tells it in steps of ten. */
export function cpuOfMs(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The second field, the name, may hold spaces and parentheses; the fields after it are counted from its end.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

function kibIn(file: string, key: string): number {
  const kib = new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(readFileSync(file, 'utf8'))?.[1]
  if (kib === undefined) throw new Error(`${file}: has no ${key}`)
  return Number(kib)
}
