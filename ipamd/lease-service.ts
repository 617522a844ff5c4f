import type { AttachmentKey } from '../lib/ipam/attachment.ts'
import { IpamProblem } from '../lib/ipam/errors.ts'
import type { GrantReply, GrantRequest } from '../lib/ipam/grants.ts'
import type { Lease } from '../lib/ipam/lease.ts'
import type {
  AllocateReply,
  AllocateRequest,
  CollectReply,
  CollectRequest,
  LeaseFilter,
  PoolReport,
  ReleaseRequest,
} from '../lib/ipam/protocol.ts'
import type { PodCidrsReply, PodCidrsRequest } from '../lib/ipam/pod-cidrs.ts'
import type { Address, Family } from '../lib/net/address.ts'
import type { Prefix } from '../lib/net/prefix.ts'
import { Deadline } from '../lib/time/deadline.ts'
import { allocate, refusalOf, type Allocation } from './allocator/allocate.ts'
import type { LeaseEvent, ReleaseReason } from './allocator/events.ts'
import { giveBack } from './allocator/give-back.ts'
import { endGrants, grant } from './allocator/grant.ts'
import { handOver, reportPodCidrs } from './allocator/hand-over.ts'
import { findPoolOverlap } from './allocator/overlaps.ts'
import type { LeaseWatch } from './allocator/lease-table.ts'
import type { Pool } from './allocator/pool.ts'
import { collect, findLeases, release, type Release } from './allocator/release.ts'
import { reportPools } from './allocator/report.ts'
import type { Reservation } from './allocator/reservation.ts'
import { listReservations, reserve, unreserve, type ReserveRequest } from './allocator/reserve.ts'
import { evolve, seeForeign } from './allocator/state.ts'
import { BlockReadiness, type BlockEdges } from './block-readiness.ts'
import { HistoryCutOff } from './history-cut-off.ts'
import { Ledger, type LedgerEdges, type Stored } from './ledger.ts'
import { addressProblem, grantProblem, inNoPool, notHandedOver, overlapProblem, problemOf } from './problems.ts'
import type { BootFacts } from './store/boot-facts.ts'
import { isSameBoot, viaOf, type LeaseOrigin } from './store/lease-origin.ts'
import { Surroundings, type SurroundingsEdges } from './surroundings.ts'
import { Upstream, type UpstreamEdges } from './upstream.ts'

/** What the service needs of the world. */
export interface LeaseServiceEdges extends LedgerEdges, BlockEdges, SurroundingsEdges {
  /** Absent in a daemon that never looks for stale leases. */
  readonly origins?: LeaseOrigins
  /** Of a daemon with pools whose blocks another ipamd grants. */
  readonly upstream?: UpstreamEdges
}

/** What is durable about where leases come from. */
export interface LeaseOrigins {
  readonly boot: BootFacts
  /** Undefined when the attachment has no durable lease. @throws {StoreError} */
  readonly read: (attachment: AttachmentKey) => LeaseOrigin | undefined
}

/** A lease, and what tells whether it was asked for since. */
export interface HeldLease extends Disposable {
  readonly watch: LeaseWatch
}

/** How much of the history is kept. */
export interface HistoryBounds {
  readonly keepMs: number
  readonly maxRows: number
}

/** How long a request waits for blocks of the upstream: less than its caller waits. */
const UPSTREAM_WAIT_MS = 4000
/** Nobody waits at start but whoever started it, and a node that boots, or is in a crowd of pods, is slow: better late than not at all. */
const FIRST_LOOK_TIMEOUT_MS = 30_000

/** Leases, reservations and blocks: decides on the state, stores what was decided, and has the node made ready for it. */
export class LeaseService {
  readonly #edges: LeaseServiceEdges
  readonly #ledger: Ledger
  readonly #readiness: BlockReadiness
  readonly #surroundings: Surroundings
  readonly #upstreams: ReadonlyMap<string, Upstream>
  readonly #cutOff = new HistoryCutOff()

  /** @throws {StoreError} when the store can't be read. */
  constructor(pools: readonly Pool[], edges: LeaseServiceEdges) {
    this.#edges = edges
    this.#ledger = new Ledger(pools, edges)
    this.#readiness = new BlockReadiness(edges)
    this.#surroundings = new Surroundings(edges)
    this.#upstreams = new Map(pools.flatMap(pool => this.#upstreamOf(pool)))
  }

  /** Leases one address of each family of the pool, or none. Resolves when it is durable. @throws {IpamProblem} */
  async allocate(request: AllocateRequest): Promise<AllocateReply> {
    const { reply, whenDurable } = await this.lease(request)
    await whenDurable()
    return reply
  }

  /** The same, for a caller that does not answer before it is durable. @throws {IpamProblem} */
  async lease(request: AllocateRequest): Promise<Stored<AllocateReply>> {
    const by = Deadline.in(UPSTREAM_WAIT_MS)
    let knows: Knowledge = { hasLooked: !this.#surroundings.canLook }
    for (;;) {
      const { reply, whenDurable } = await this.#tryToAllocate(request, knows)
      if ('lease' in reply) {
        await Promise.all(reply.lease.addresses.map(({ block }) => this.#readiness.whenReady(block)))
        return { reply, whenDurable }
      }
      knows = await this.#learn(reply, { knows, by })
    }
  }

  /** Changes nothing when something has to be known first. */
  #tryToAllocate(request: AllocateRequest, knows: Knowledge): Promise<Stored<AllocateReply | Lacking>> {
    return this.#ledger.store<AllocateReply | Lacking>((state, nowUnixMs) => {
      // Here and not earlier: the request may have waited for another one's commit.
      refuseLate(request, nowUnixMs)
      if (knows.hasLooked) seeForeign(state, this.#surroundings.foreignTo(state))
      const asked = { ...request, via: this.#via(request), upstreamIsExhausted: knows.upstreamIsExhausted }
      const allocation = allocate(state, asked, nowUnixMs)
      const lacking = lackingIn(allocation, knows)
      if (lacking !== undefined) return { reply: lacking, events: [] }
      switch (allocation.kind) {
        case 'leased':
          return { reply: { lease: allocation.lease, isNew: true }, events: allocation.events }
        case 'already-leased':
          // Also when nothing is to be stored: releaseStale() must see that it was asked for.
          evolve(state, { type: 'renewed', lease: allocation.lease, via: asked.via })
          return { reply: { lease: allocation.lease, isNew: false }, events: this.#renewal(allocation.lease, asked) }
        default:
          throw problemOf(allocation, nowUnixMs)
      }
    })
  }

  /** Finds out what was lacking. @throws {IpamProblem} busy, when the node or the upstream does not tell. */
  async #learn(
    lacking: Lacking,
    { knows, by }: { readonly knows: Knowledge; readonly by: Deadline },
  ): Promise<Knowledge> {
    if (lacking.lacks === 'look') {
      await this.#surroundings.look()
      return { ...knows, hasLooked: true }
    }
    // Others may use up the blocks before this request gets one, again and again.
    if (by.isPast())
      throw new IpamProblem('busy', `pool "${lacking.pool}" is asked for more than its upstream grants in time`)
    const answer = await this.#upstreams.get(lacking.pool)?.obtain(lacking.family)
    return { ...knows, upstreamIsExhausted: answer !== 'granted' }
  }

  /** Ends the lease of the attachment, when it is the one that is meant. Resolves when that is durable. @throws {IpamProblem} */
  async release(request: ReleaseRequest, reason: ReleaseReason): Promise<Release> {
    const { reply, whenDurable } = await this.end(request, reason)
    await whenDurable()
    return reply
  }

  /**
   * The same, for a caller whose interface is gone, and who looks for leases without one after a loss of power: the lease would be
   * there again then, and would be ended (reconcile/). @throws {IpamProblem}
   */
  end(request: ReleaseRequest, reason: ReleaseReason): Promise<Stored<Release>> {
    return this.#ledger.store((state, nowUnixMs) => {
      refuseLate(request, nowUnixMs)
      const decision = release(state, request, { nowUnixMs, reason })
      return { reply: decision, events: decision.kind === 'released' ? decision.events : [] }
    })
  }

  /** Ends the leases of a network whose attachments are not valid. @throws {IpamProblem} */
  collect(request: CollectRequest): Promise<CollectReply> {
    return this.#ledger.execute((state, nowUnixMs) => {
      refuseLate(request, nowUnixMs)
      const events = collect(state, request, nowUnixMs)
      return { reply: { released: events.map(event => event.lease.attachment) }, events }
    })
  }

  /** The lease that the attachment holds, for releaseStale(). To be disposed of. @throws {IpamProblem} */
  holds(attachment: AttachmentKey): Promise<HeldLease | undefined> {
    return this.#ledger.execute(state => {
      const watch = state.leases.watch(attachment)
      const reply = watch && { watch, [Symbol.dispose]: () => state.leases.unwatch(watch) }
      return { reply, events: [] }
    })
  }

  /**
   * Ends this very lease, for the reason that `detail` gives. Resolves to false when it has ended, or was asked for again, since
   * holds() gave it (checklist R6). @throws {IpamProblem}
   */
  releaseStale({ watch }: HeldLease, detail: string): Promise<boolean> {
    return this.#ledger.execute((state, nowUnixMs) => {
      // False as well when the state was read anew since: it does not know what happened before.
      if (!state.leases.isUntouched(watch)) return { reply: false, events: [] }
      const { lease } = watch
      return { reply: true, events: [{ type: 'released', lease, atUnixMs: nowUnixMs, reason: 'reconcile', detail }] }
    })
  }

  /** The leases that match. @throws {IpamProblem} */
  find(filter: LeaseFilter): Promise<readonly Lease[]> {
    return this.#ledger.execute(state => ({ reply: findLeases(state, filter), events: [] }))
  }

  /** @throws {IpamProblem} */
  pools(): Promise<readonly PoolReport[]> {
    return this.#ledger.execute((state, nowUnixMs) => ({ reply: reportPools(state, nowUnixMs), events: [] }))
  }

  /** Sets an address aside for an owner. @throws {IpamProblem} when no pool leases it, or another owner has it. */
  reserve(request: ReserveRequest): Promise<Reservation> {
    return this.#ledger.execute((state, nowUnixMs) => {
      const decision = reserve(state, request, nowUnixMs)
      switch (decision.kind) {
        case 'reserved':
          return { reply: decision.reservation, events: decision.events }
        case 'in-no-pool':
          throw inNoPool(decision.address, decision.known)
        case 'address-refused':
          throw addressProblem(decision, nowUnixMs)
      }
    })
  }

  /** Resolves to false when the address is not reserved. @throws {IpamProblem} */
  unreserve(address: Address): Promise<boolean> {
    return this.#ledger.execute((state, nowUnixMs) => {
      const events = unreserve(state, address, nowUnixMs)
      return { reply: events.length > 0, events }
    })
  }

  /** @throws {IpamProblem} */
  reservations(): Promise<readonly Reservation[]> {
    return this.#ledger.execute(state => ({ reply: listReservations(state), events: [] }))
  }

  /**
   * Gives back the blocks that are not needed, some of them, and resolves to them. To be called now and then.
   *
   * @throws {IpamProblem} when the store or an upstream fails. @throws the first failure of onBlockReturned; the next call tries
   *   it again.
   */
  async giveBackBlocks(): Promise<readonly Prefix[]> {
    const returned = await this.#ledger.execute((state, nowUnixMs) => {
      const events = giveBack(state, nowUnixMs)
      return { reply: events.map(event => event.prefix), events }
    })
    this.#readiness.forget(returned)
    await this.#readiness.clearUp()
    await Promise.all([...this.#upstreams.values()].map(upstream => upstream.tellWhatIsHeld()))
    return returned
  }

  /**
   * Makes these ranges the only ones that new leases of the pool come from. Resolves when they are durable and ready.
   *
   * @throws {IpamProblem} when one overlaps what is somebody else's, or no pool takes them: nothing is changed then.
   */
  async handOverPodCidrs(request: PodCidrsRequest): Promise<PodCidrsReply> {
    await this.#surroundings.look()
    let returned: readonly Prefix[] = []
    await this.#ledger.replace((state, nowUnixMs) => {
      seeForeign(state, this.#surroundings.foreignTo(state))
      const decision = handOver(state, request, nowUnixMs)
      if (decision.kind === 'overlaps') throw overlapProblem(decision)
      if (decision.kind === 'not-handed-over') throw notHandedOver(decision)
      returned = decision.changes.flatMap(change => (change.type === 'block-returned' ? [change.prefix] : []))
      return decision.changes
    })
    // Cleared up behind by giveBackBlocks(): what is handed over must not wait for it.
    this.#readiness.forget(returned)
    await Promise.all(request.podCidrs.map(block => this.#readiness.whenReady(block)))
    return this.podCidrs(request.pool)
  }

  /** @throws {IpamProblem} when no pool takes pod CIDRs. */
  podCidrs(pool: string | undefined): Promise<PodCidrsReply> {
    return this.#ledger.execute(state => {
      const report = reportPodCidrs(state, pool)
      if ('kind' in report) throw notHandedOver(report)
      return { reply: report, events: [] }
    })
  }

  /** Keeps the store right after the clock was set. To be called now and then. @throws {IpamProblem} */
  storeClockStep(): void {
    this.#ledger.storeClockStep()
  }

  /**
   * Forgets what happened too long ago, some of it, and what exceeds the rows. To be called now and then.
   *
   * @returns True when there may be more. @throws {StoreError}
   */
  trimHistory({ keepMs, maxRows }: HistoryBounds): boolean {
    const { store, nowUnixMs, uptimeMs } = this.#edges
    const oldestUnixMs = store.oldestEventUnixMs()
    const beforeUnixMs = this.#cutOff.next({ oldestUnixMs, nowUnixMs: nowUnixMs(), uptimeMs: uptimeMs(), keepMs })
    return beforeUnixMs !== undefined && store.trimEvents({ beforeUnixMs, maxRows })
  }

  /** Resolves when a new attachment would get a lease now. @throws {IpamProblem} that says why it would not. */
  async checkReady(pool: string | undefined): Promise<void> {
    const knows: Knowledge = { hasLooked: !this.#surroundings.canLook }
    const lacking = await this.#checkLease(pool, knows)
    if (lacking?.lacks === 'look') {
      await this.#surroundings.look()
      await this.#checkLease(pool, { ...knows, hasLooked: true })
    }
    if (lacking?.lacks === 'block') await this.#upstreams.get(lacking.pool)?.checkAfterFailure(lacking.family)
    this.#ledger.probeAfterFailure()
  }

  #checkLease(pool: string | undefined, knows: Knowledge): Promise<Lacking | undefined> {
    return this.#ledger.execute((state, nowUnixMs) => {
      if (knows.hasLooked) seeForeign(state, this.#surroundings.foreignTo(state))
      const refusal = refusalOf(state, { pool, upstreamIsExhausted: knows.upstreamIsExhausted }, nowUnixMs)
      const lacking = refusal === undefined ? undefined : lackingIn(refusal, knows)
      if (refusal !== undefined && lacking === undefined) throw problemOf(refusal, nowUnixMs)
      return { reply: lacking, events: [] }
    })
  }

  /**
   * Holds the pools against each other, the service ranges and what the node uses. To be called before anything is answered.
   *
   * @throws {IpamProblem} overlaps, with both ranges. @throws {IpamProblem} busy, when the node can't be looked at.
   */
  async refuseOverlaps(): Promise<void> {
    await this.#surroundings.look(FIRST_LOOK_TIMEOUT_MS)
    const { serviceRanges } = this.#surroundings
    await this.#ledger.execute(state => {
      const overlap = findPoolOverlap(state, { serviceRanges, hostRanges: this.#surroundings.hostRanges(state) })
      if (overlap !== undefined) throw overlapProblem(overlap)
      return { reply: undefined, events: [] }
    })
  }

  /**
   * Decides which blocks another node has, and resolves to those that it is granted anew when that is durable.
   *
   * @throws {IpamProblem}
   */
  async grant(request: GrantRequest): Promise<GrantReply> {
    await this.#surroundings.look()
    return this.#ledger.execute((state, nowUnixMs) => {
      seeForeign(state, this.#surroundings.foreignTo(state))
      const decision = grant(state, request, nowUnixMs)
      if (decision.kind !== 'granted') throw grantProblem(decision)
      return { reply: { pool: decision.pool, granted: decision.blocks }, events: decision.events }
    })
  }

  /** Ends what a node was granted, and resolves to it. @throws {IpamProblem} */
  endGrants(node: string): Promise<readonly Prefix[]> {
    return this.#ledger.execute((state, nowUnixMs) => {
      const events = endGrants(state, node, nowUnixMs)
      return { reply: events.map(({ prefix }) => prefix), events }
    })
  }

  /** Calls onBlockTaken for every block that the node has. @throws the first failure. */
  async announceBlocks(): Promise<void> {
    const blocks = await this.#ledger.execute(state => ({
      reply: state.blocks.filter(({ node }) => node === undefined).map(({ prefix }) => prefix),
      events: [],
    }))
    for (const prefix of blocks) await this.#readiness.whenReady(prefix)
  }

  /** Commits what is waiting. */
  flush(): void {
    this.#ledger.flush()
  }

  #upstreamOf({ name, prefixes, blockSource }: Pool): readonly (readonly [string, Upstream])[] {
    if (blockSource?.type !== 'socket') return []
    const { upstream } = this.#edges
    if (upstream === undefined) throw new Error(`pool ${name} has an upstream, and nothing to ask it with`)
    const pool = { name, prefixes, source: blockSource }
    return [[name, new Upstream(pool, { ...upstream, ledger: this.#ledger, surroundings: this.#surroundings })]]
  }

  #via(request: AllocateRequest): AllocateRequest['via'] {
    const { origins } = this.#edges
    return origins === undefined ? request.via : viaOf(request, origins.boot)
  }

  /** A lease that is asked for again is of this boot and of who asks: else it would look stale while a pod lives on it. */
  #renewal(lease: Lease, { via }: Pick<AllocateRequest, 'via'>): readonly LeaseEvent[] {
    const { origins } = this.#edges
    const origin = origins?.read(lease.attachment)
    if (origins === undefined || origin === undefined) return []
    if (isSameBoot(origin.boot, origins.boot) && origin.via === via) return []
    return [{ type: 'renewed', lease, via }]
  }
}

/** What a request knows that the state does not have. */
interface Knowledge {
  /** The node was looked at since the request came. */
  readonly hasLooked: boolean
  readonly upstreamIsExhausted?: boolean
}

/** What has to be found out before a request can be decided. */
type Lacking = { readonly lacks: 'look' } | { readonly lacks: 'block'; readonly pool: string; readonly family: Family }

function lackingIn(allocation: Allocation, { hasLooked }: Knowledge): Lacking | undefined {
  switch (allocation.kind) {
    case 'leased':
      return !hasLooked && allocation.events.some(({ type }) => type === 'block-taken') ? { lacks: 'look' } : undefined
    case 'overlaps':
      // It may be gone by now.
      return hasLooked ? undefined : { lacks: 'look' }
    case 'needs-block':
      return { lacks: 'block', pool: allocation.pool.name, family: allocation.family }
    default:
      return undefined
  }
}

function refuseLate({ deadlineUnixMs }: Pick<AllocateRequest, 'deadlineUnixMs'>, nowUnixMs: number): void {
  if (deadlineUnixMs === undefined || nowUnixMs < deadlineUnixMs) return
  throw new IpamProblem(
    'deadline-passed',
    `deadlineUnixMs ${deadlineUnixMs} was ${nowUnixMs - deadlineUnixMs} ms ago: nothing was changed`,
  )
}
