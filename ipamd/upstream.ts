import { IpamProblem, IpamUnavailable } from '../lib/ipam/errors.ts'
import type { GrantReply, GrantRequest } from '../lib/ipam/grants.ts'
import type { Family } from '../lib/net/address.ts'
import { containsPrefix, equalPrefixes, formatPrefix, type Prefix } from '../lib/net/prefix.ts'
import { Deadline, DeadlineExceeded } from '../lib/time/deadline.ts'
import { needsBlock } from './allocator/allocate.ts'
import { findOverlap } from './allocator/foreign-range.ts'
import type { UpstreamSource } from './allocator/pool.ts'
import type { State } from './allocator/state.ts'
import type { Ledger } from './ledger.ts'
import type { Surroundings } from './surroundings.ts'

export interface UpstreamEdges {
  /** The name under which this node gets blocks. */
  readonly node: string
  /** Tells this daemon from another one that has its name by mistake. The same after a restart. */
  readonly instance: string
  /** Asks the ipamd on that socket. @throws {IpamProblem} {IpamUnavailable} {DeadlineExceeded} */
  readonly ask: (socketPath: string, request: GrantRequest, by: Deadline) => Promise<GrantReply>
}

/** A pool whose blocks another ipamd grants. */
export interface UpstreamPool {
  readonly name: string
  readonly prefixes: readonly Prefix[]
  readonly source: UpstreamSource
}

const ASK_TIMEOUT_MS = 2000

/**
 * The ipamd that has the whole pool, as this node sees it.
 *
 * Each request has a number that is durable before it is sent and says everything that this node holds; only one is under way at
 * a time. So the upstream frees a block only when this node has let go of it for good: an earlier request that comes late is
 * refused, and what it would have been answered is not waited for any more.
 */
export class Upstream {
  readonly #pool: UpstreamPool
  readonly #edges: UpstreamEdges & { readonly ledger: Ledger; readonly surroundings: Surroundings }
  /** Ends when the request that was made last has ended. */
  #turn: Promise<unknown> = Promise.resolve()
  readonly #obtaining = new Map<Family, Promise<'granted' | 'exhausted'>>()
  /** What the upstream knows this node to hold; undefined when that is not sure. */
  #told: readonly Prefix[] | undefined
  #lastFailure: IpamProblem | undefined

  constructor(
    pool: UpstreamPool,
    edges: UpstreamEdges & { readonly ledger: Ledger; readonly surroundings: Surroundings },
  ) {
    this.#pool = pool
    this.#edges = edges
  }

  /** Gets one more block, which is durable then. Who asks meanwhile for the same gets the same answer. @throws {IpamProblem} */
  obtain(family: Family): Promise<'granted' | 'exhausted'> {
    const known = this.#obtaining.get(family)
    if (known !== undefined) return known
    const obtained = this.#alone(() => this.#obtain(family)).finally(() => this.#obtaining.delete(family))
    this.#obtaining.set(family, obtained)
    return obtained
  }

  /** Tells what this node holds, when the upstream does not know it. To be called now and then. @throws {IpamProblem} */
  async tellWhatIsHeld(): Promise<void> {
    const held = await this.#held()
    if (this.#told !== undefined && isSame(held, this.#told)) return
    await this.#alone(() => this.#ask([]))
  }

  /** Asks again when the upstream gave no block when it was last asked. @throws {IpamProblem} when it gives none now. */
  async checkAfterFailure(family: Family): Promise<void> {
    if (this.#lastFailure === undefined) return
    if ((await this.obtain(family)) === 'exhausted') throw this.#lastFailure
  }

  async #obtain(family: Family): Promise<'granted' | 'exhausted'> {
    try {
      // One that came while this request waited for its turn may be enough for both.
      if (!(await this.#needs(family))) return 'granted'
      for (const block of await this.#ask([family])) await this.#take(block)
      this.#lastFailure = undefined
      return 'granted'
    } catch (cause) {
      if (!(cause instanceof IpamProblem)) throw cause
      this.#lastFailure = cause
      if (cause.type === 'pool-exhausted') return 'exhausted'
      throw cause
    }
  }

  #needs(family: Family): Promise<boolean> {
    const asked = { pool: this.#pool.name, family }
    return this.#edges.ledger.execute((state, nowUnixMs) => ({
      reply: needsBlock(state, asked, nowUnixMs),
      events: [],
    }))
  }

  async #ask(wants: readonly Family[]): Promise<readonly Prefix[]> {
    try {
      return await this.#askOnce(wants)
    } catch (cause) {
      const latest =
        cause instanceof IpamProblem && cause.type === 'late-request' ? cause.members['sequence'] : undefined
      // This daemon has lost its store, and counts from the start.
      if (typeof latest === 'number') return await this.#askOnce(wants, latest)
      throw cause
    }
  }

  async #askOnce(wants: readonly Family[], atLeast = 0): Promise<readonly Prefix[]> {
    const { node, instance, ask, ledger } = this.#edges
    const { name, source } = this.#pool
    const sequence = await ledger.execute(state => {
      const next = Math.max(atLeast, state.sequences.get(name) ?? 0) + 1
      return { reply: next, events: [{ type: 'upstream-asked', pool: name, sequence: next }] }
    })
    // Read behind that commit: blocks are taken by answers only, and this is the only request.
    const holds = await this.#held()
    this.#told = undefined
    const request = { node, instance, sequence, pool: source.pool ?? name, holds, wants }
    const { granted } = await ask(source.socket, request, Deadline.in(ASK_TIMEOUT_MS)).catch((cause: unknown) => {
      throw this.#problemOf(cause)
    })
    this.#told = [...holds, ...granted]
    return granted
  }

  #problemOf(cause: unknown): unknown {
    if (cause instanceof IpamUnavailable || cause instanceof DeadlineExceeded) {
      return new IpamProblem('busy', `pool "${this.#pool.name}" gets no block: upstream ${cause.message}`, { cause })
    }
    if (!(cause instanceof IpamProblem)) return cause
    if (cause.type === 'pool-exhausted' || cause.type === 'late-request') return cause
    const said = `pool "${this.#pool.name}" gets no block: the upstream ${this.#pool.source.socket} says: ${cause.detail}`
    return new IpamProblem('busy', said, { cause })
  }

  /** Makes a granted block this node's own. @throws {IpamProblem} busy, when it can't be: the upstream is told so later. */
  async #take(block: Prefix): Promise<void> {
    const { ledger, surroundings } = this.#edges
    await surroundings.look()
    await ledger.execute((state, nowUnixMs) => {
      const obstacle = this.#obstacle(state, block)
      if (obstacle !== undefined)
        throw new IpamProblem('busy', `the upstream granted ${formatPrefix(block)}: ${obstacle}`)
      const events = [{ type: 'block-taken' as const, pool: this.#pool.name, prefix: block, atUnixMs: nowUnixMs }]
      return { reply: undefined, events }
    })
  }

  #obstacle(state: State, block: Prefix): string | undefined {
    if (!this.#pool.prefixes.some(prefix => containsPrefix(prefix, block))) {
      return `want a part of ${this.#pool.prefixes.map(formatPrefix).join(', ')}`
    }
    const others = state.blocks.map(({ prefix, pool }) => ({ prefix, source: `a block of pool "${pool}"` }))
    const overlap = findOverlap([block], [...others, ...this.#edges.surroundings.foreignTo(state)])
    return overlap && `it overlaps ${formatPrefix(overlap.other.prefix)}, ${overlap.other.source}`
  }

  #held(): Promise<readonly Prefix[]> {
    return this.#edges.ledger.execute(state => ({
      reply: state.blocks
        .filter(({ pool, node }) => pool === this.#pool.name && node === undefined)
        .map(({ prefix }) => prefix),
      events: [],
    }))
  }

  #alone<T>(body: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(body, body)
    this.#turn = result
    return result
  }
}

function isSame(a: readonly Prefix[], b: readonly Prefix[]): boolean {
  return a.length === b.length && a.every(each => b.some(other => equalPrefixes(each, other)))
}
