import type { ContenderName } from './contenders.ts'

export type Verb = 'ADD' | 'CHECK' | 'DEL' | 'STATUS'

/** Calls for some pods, one after another or all at once. Times in milliseconds. */
export interface Series {
  readonly kind: 'calls'
  readonly contender: ContenderName
  readonly verb: Verb
  readonly hasPort: boolean
  /** How many pods the node had before. */
  readonly standing: number
  /** 1: one after another. */
  readonly atOnce: number
  /** Of each pod: from the start of the first program of its chain to the end of the last. */
  readonly wallMs: readonly number[]
  /** Of each pod: processor time of every process of its chain. */
  readonly cpuMs: readonly number[]
  /** From the first start to the last end. */
  readonly wholeMs: number
  /** What ipamd used meanwhile, for all of them. */
  readonly daemonCpuMs: number
  /** The largest resident set of a process of a chain. */
  readonly residentKib: number
  readonly failed: number
  /** What the first that failed has said. */
  readonly failure?: string
}

/** What ipamd holds. */
export interface Memory {
  readonly kind: 'memory'
  readonly pods: number
  readonly residentKib: number
  /** Proportional: what is shared with others counts by its share. */
  readonly proportionalKib: number
}

/** From pod to pod on one node. */
export interface Traffic {
  readonly kind: 'traffic'
  readonly contender: ContenderName
  readonly gigabitPerSecond: number
  readonly roundTripsPerSecond: number
  readonly p50Us: number
  readonly p99Us: number
}

/** A step that could not be done. */
export interface Trouble {
  readonly kind: 'trouble'
  readonly step: string
  readonly message: string
}

export type Sample = Series | Memory | Traffic | Trouble

/** The machine, as the reader has to know it. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryMiB: number
  readonly kernel: string
  readonly node: string
}

/** One run of the bench: everything that its page is made of. */
export interface AttachRun {
  readonly format: 'bench-attach/2'
  readonly startedAt: string
  readonly endedAt: string
  readonly machine: Machine
  /** One minute's, of each time that the run was started, and at its end. */
  readonly loadAtStart: readonly number[]
  readonly loadAtEnd: number
  readonly versions: readonly string[]
  /** What the run was asked for: bench/attach/turns.ts, Sizes. */
  readonly options: { readonly pods: number; readonly warmUpPods: number }
  /** Steps for which there was no time left. */
  readonly skipped: readonly string[]
  readonly samples: readonly Sample[]
}
