import type { Fallback } from '../../lib/ipam/fallback.ts'
import type { PoolReport } from '../../lib/ipam/protocol.ts'
import type { StoredChange } from '../allocator/events.ts'
import type { Labels, Metric, Sample } from '../../lib/metrics/exposition.ts'
import { Counter, gauge, Histogram } from '../../lib/metrics/instruments.ts'

// From a fast NVMe disk to a disk that is in trouble.
const COMMIT_BOUNDS_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

// From a call that asks the kernel nothing to one that waits for others.
const CALL_BOUNDS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** What the daemon counts while it runs. Everything else is looked at when somebody asks: see observedMetrics(). */
export class Metrics {
  readonly #requests = new Counter({
    name: 'tulle_ipamd_requests_total',
    help: 'Requests answered, by method, route and HTTP status.',
  })
  readonly #refusals = new Counter({
    name: 'tulle_ipamd_allocation_refusals_total',
    help: 'Requests for a lease that were refused, by the type of the problem.',
  })
  readonly #allocations = new Counter({
    name: 'tulle_ipamd_allocations_total',
    help: 'Leases made, by pool. The same lease given again to the same attachment is not counted.',
  })
  readonly #releases = new Counter({
    name: 'tulle_ipamd_releases_total',
    help: 'Leases ended, by pool and reason.',
  })
  readonly #blocksTaken = new Counter({
    name: 'tulle_ipamd_blocks_taken_total',
    help: 'Blocks taken from a pool.',
  })
  readonly #commitSeconds = new Histogram(
    { name: 'tulle_ipamd_commit_seconds', help: 'Time that a commit took until it was durable.' },
    COMMIT_BOUNDS_SECONDS,
  )
  readonly #commitFailures = new Counter({
    name: 'tulle_ipamd_commit_failures_total',
    help: 'Commits that the store did not take.',
  })
  readonly #served = new Counter({
    name: 'tulle_cni_calls_total',
    help: 'Calls of the CNI plugin that ipamd did, by verb and exit code.',
  })
  readonly #servedSeconds = new Histogram(
    { name: 'tulle_cni_call_seconds', help: 'Time that ipamd took for a call of the CNI plugin, waiting included.' },
    CALL_BOUNDS_SECONDS,
  )
  readonly #declined = new Counter({
    name: 'tulle_cni_calls_declined_total',
    help: 'Calls of the CNI plugin that ipamd left to the plugin, by reason.',
  })
  readonly #fallbacks = new Counter({
    name: 'tulle_direct_fallbacks_total',
    help: 'Calls that the CNI plugin did without ipamd, ten times slower, by verb and reason.',
  })
  readonly #nftablesRepairs = new Counter({
    name: 'tulle_ipamd_nftables_repairs_total',
    help: 'What was put right in our nftables table: rules, elements of pods, elements that were abandoned, prefixes of pools.',
  })
  readonly #streamsDropped = new Counter({
    name: 'tulle_ipamd_event_streams_dropped_total',
    help: 'Event streams that were ended because their reader was too slow, or because the store could not be read.',
  })

  /** `route` is a path that the daemon knows, or "unknown": what strangers make up must not fill the memory. */
  countRequest(request: { readonly method: string; readonly route: string; readonly status: number }): void {
    this.#requests.add({ ...request, status: String(request.status) })
  }

  countRefusal(problem: string): void {
    this.#refusals.add({ problem })
  }

  countCommit(events: readonly StoredChange[], tookMs: number): void {
    this.#commitSeconds.observe(tookMs / 1000)
    for (const event of events) this.#countEvent(event)
  }

  countCommitFailure(): void {
    this.#commitFailures.add()
  }

  countServed({ command, exitCode, tookMs }: { command: string; exitCode: number; tookMs: number }): void {
    this.#served.add({ command, exit_code: String(exitCode) })
    this.#servedSeconds.observe(tookMs / 1000)
  }

  countDeclined(reason: string): void {
    this.#declined.add({ reason })
  }

  countFallback({ verb, reason }: Fallback, by: number): void {
    this.#fallbacks.add({ command: verb, reason }, by)
  }

  countNftablesRepair(what: string): void {
    this.#nftablesRepairs.add({ what })
  }

  countDroppedStream(): void {
    this.#streamsDropped.add()
  }

  #countEvent(event: StoredChange): void {
    switch (event.type) {
      case 'leased':
        return this.#allocations.add({ pool: event.lease.pool })
      case 'released':
        return this.#releases.add({ pool: event.lease.pool, reason: event.reason })
      case 'block-taken':
        return this.#blocksTaken.add({ pool: event.pool })
      default:
        return
    }
  }

  read(): readonly Metric[] {
    return [
      this.#requests.read(),
      this.#allocations.read(),
      this.#refusals.read(),
      this.#releases.read(),
      this.#blocksTaken.read(),
      this.#commitSeconds.read(),
      this.#commitFailures.read(),
      this.#streamsDropped.read(),
      this.#served.read(),
      this.#servedSeconds.read(),
      this.#declined.read(),
      this.#fallbacks.read(),
      this.#nftablesRepairs.read(),
    ]
  }
}

/** What is looked at when somebody asks. */
export interface Observed {
  readonly pools: readonly PoolReport[]
  /** Files in the spool: releases that wait, and what was set aside because it is no release. */
  readonly spool: { readonly waiting: number; readonly setAside: number }
  readonly storeBytes: number
  readonly newestEventId: number
  readonly streams: number
}

export function observedMetrics({ pools, spool, storeBytes, newestEventId, streams }: Observed): readonly Metric[] {
  return [
    gauge(
      { name: 'tulle_ipamd_leases', help: 'Leases that hold, by pool.' },
      pools.map(({ name, leased }) => ({ labels: { pool: name }, value: leased })),
    ),
    gauge(
      {
        name: 'tulle_ipamd_addresses',
        help: 'Addresses of the pool by state: leased, cooling (released too short a time ago) or free.',
      },
      pools.flatMap(addressSamples),
    ),
    gauge(
      { name: 'tulle_ipamd_addresses_capacity', help: 'Addresses that the pool could lease at most.' },
      pools.flatMap(({ name, families = [] }) =>
        families.map(({ family, capacity }) => ({ labels: poolLabels(name, family), value: capacity })),
      ),
    ),
    gauge(
      { name: 'tulle_ipamd_blocks', help: 'Blocks that this node has of the pool.' },
      pools.flatMap(({ name, blocks, families = [] }) =>
        families.map(({ family }) => ({
          labels: poolLabels(name, family),
          value: blocks.filter(({ prefix }) => prefix.address.family === family).length,
        })),
      ),
    ),
    gauge({ name: 'tulle_ipamd_spool_entries', help: 'Files in the spool: releases that wait, and those set aside.' }, [
      { labels: { state: 'waiting' }, value: spool.waiting },
      { labels: { state: 'set-aside' }, value: spool.setAside },
    ]),
    gauge({ name: 'tulle_ipamd_store_bytes', help: 'Size of the lease store, with its write-ahead log.' }, [
      { labels: {}, value: storeBytes },
    ]),
    gauge({ name: 'tulle_ipamd_newest_event', help: 'The id of the newest event of the history.' }, [
      { labels: {}, value: newestEventId },
    ]),
    gauge({ name: 'tulle_ipamd_event_streams', help: 'Readers of the event stream that are connected.' }, [
      { labels: {}, value: streams },
    ]),
  ]
}

function addressSamples({ name, families = [] }: PoolReport): readonly Sample[] {
  return families.flatMap(({ family, leased, cooling, capacity }) => {
    // Below zero when the pool was made smaller than what it has leased.
    const free = capacity - BigInt(leased) - BigInt(cooling)
    const labels = poolLabels(name, family)
    return [
      { labels: { ...labels, state: 'leased' }, value: leased },
      { labels: { ...labels, state: 'cooling' }, value: cooling },
      { labels: { ...labels, state: 'free' }, value: free < 0n ? 0n : free },
    ]
  })
}

function poolLabels(pool: string, family: 4 | 6): Labels {
  return { pool, family: family === 4 ? 'ipv4' : 'ipv6' }
}
