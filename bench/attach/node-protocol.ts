import type { Sample } from '../report/samples.ts'
import type { Contender } from './contenders.ts'

/** What a node is told, one line of JSON each; it does one thing at a time. */
export type NodeRequest =
  | {
      readonly do: 'open'
      readonly contender: Contender
      readonly folder: string
      readonly runner: string
      readonly roundTrips: string
    }
  /** Adds pods, checks them (one after another only) and deletes them, and asks for the status. */
  | { readonly do: 'calls'; readonly pods: number; readonly isAtOnce: boolean; readonly hasPort: boolean }
  /** Adds pods that stay, until there are so many. */
  | { readonly do: 'stand'; readonly pods: number }
  | { readonly do: 'memory' }
  | { readonly do: 'traffic'; readonly seconds: number; readonly iperf3: IperfProgram }

/** Debian's iperf3, unpacked. */
export interface IperfProgram {
  readonly path: string
  readonly libraryFolder: string
}

/** What a node answers, one line of JSON each. */
export type NodeAnswer = { readonly samples: readonly Sample[] } | { readonly failure: string }
