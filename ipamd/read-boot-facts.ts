import { readFileSync, statSync } from 'node:fs'
import { uptime } from 'node:os'
import type { BootFacts } from './store/boot-facts.ts'

/** Reads what "this boot" is from /proc. @throws the errno of a file that can't be read. */
export function readBootFacts(): BootFacts {
  return {
    bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    initStartTicks: startTicksOf(readFileSync('/proc/1/stat', 'utf8')),
    hostNetnsInode: statSync('/proc/self/ns/net').ino,
  }
}

/**
 * A clock that nobody sets: milliseconds since the machine booted. It is read once how long ago that was, to ten milliseconds: each
 * reading is a file. While the daemon runs, a machine that sleeps does not count.
 */
export function clockSinceBoot(): () => number {
  const startedAtMs = uptime() * 1000 - performance.now()
  return () => startedAtMs + performance.now()
}

/** Field 22 of proc_pid_stat(5). The command, field 2, may hold spaces and brackets: count from its end. */
export function startTicksOf(stat: string): number {
  const ticks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19])
  if (!Number.isSafeInteger(ticks)) throw new Error(`Cannot read the start time in ${JSON.stringify(stat)}`)
  return ticks
}
