import type { IncomingHttpHeaders } from 'node:http'
import type { CniServer } from '../cni/cni-server.ts'
import type { Fallbacks } from '../fallbacks.ts'
import type { LeaseService } from '../lease-service.ts'
import type { Reconciler } from '../reconcile/reconciler.ts'
import type { Spool } from '../spool.ts'
import type { StoreReader } from '../store/store-reader.ts'
import type { Tally } from '../tally.ts'
import type { Condition } from './condition.ts'
import type { EventStreams } from './event-streams.ts'
import type { Metrics } from './metrics.ts'
import type { Reply } from './reply.ts'

/** What the routes act on. */
export interface Subjects {
  readonly service: LeaseService
  readonly spool: Spool
  readonly reader: StoreReader
  readonly metrics: Metrics
  readonly streams: EventStreams
  readonly condition: Condition
  /** Absent in a daemon that does not look at the kernel. */
  readonly reconciler: Reconciler | undefined
  /** Absent in a daemon that does not touch the kernel. */
  readonly cni: CniServer | undefined
  readonly fallbacks: Fallbacks
  /** Calls that were left to the plugin, by reason. */
  readonly declined: Tally
  /** What was put right in our nftables table, by what was wrong. */
  readonly repairs: Tally
}

/** One request, whose body and query are not parsed yet. */
export interface Input {
  /** Of a POST and a PUT only. */
  readonly body: unknown
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[]
}

/** Answers one request. @throws {ParseError} for a bad one, {IpamProblem} to refuse. */
export type Handler = (subjects: Subjects, input: Input) => Promise<Reply>
