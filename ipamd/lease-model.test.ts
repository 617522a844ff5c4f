import fc from 'fast-check'
import t from 'tap'
import type { AddressRange } from '../lib/net/address-range.ts'
import { formatAddress, parseAddress, type Family } from '../lib/net/address.ts'
import { containsAddress, parsePrefix, type Prefix } from '../lib/net/prefix.ts'
import { allocate } from './allocator/allocate.ts'
import type { LeaseEvent, StoredChange } from './allocator/events.ts'
import { giveBack } from './allocator/give-back.ts'
import { capacityOf, familiesOf, type Pool } from './allocator/pool.ts'
import { release } from './allocator/release.ts'
import { reserve, unreserve } from './allocator/reserve.ts'
import { handOver } from './allocator/hand-over.ts'
import { evolve, restoreState, type State } from './allocator/state.ts'
import { SqliteStore } from './store/store.ts'

const COOLDOWN_MS = 50
const KEEP_MS = 2000
const T0 = 1_700_000_000_000

function poolOf(prefixes: readonly string[], blocks: Pool['blockPrefixLength'], exclude: readonly string[] = []): Pool {
  const parsed = { prefixes: prefixes.map(parsePrefix), exclude: exclude.map(parsePrefix) }
  return { name: 'p', ...parsed, blockPrefixLength: blocks, cooldownMs: COOLDOWN_MS }
}

/** Its pod CIDRs change: what each step hands over in turn. NAMED is in some of them. */
const HANDED_OVER: Pool = { ...poolOf([], { 4: 24, 6: 64 }), blockSource: { type: 'kubernetes' } }
const POD_CIDRS = [['10.0.0.0/29'], ['10.0.1.0/29', 'fd00::/125'], ['fd00::/125'], ['10.0.0.0/28']].map(texts =>
  texts.map(parsePrefix),
)

// Small enough to be exhausted by ten attachments, or not. Every one of NAMED is an address that it leases.
const pools = fc.constantFrom(
  poolOf(['10.0.0.0/29'], { 4: 30, 6: 64 }),
  poolOf(['10.0.0.0/28'], { 4: 30, 6: 64 }),
  poolOf(['10.0.0.0/28', 'fd00::/125'], { 4: 29, 6: 126 }, ['10.0.0.3/32']),
  poolOf(['10.0.0.0/24', 'fd00::/64'], { 4: 27, 6: 64 }),
  HANDED_OVER,
)
const NAMED = ['10.0.0.2', '10.0.0.6'] as const
/** Ranges of addresses that every pool leases which has them at all. */
const RANGES = [
  ['10.0.0.2'],
  ['10.0.0.6'],
  ['10.0.0.2', '10.0.0.6'],
  ['fd00::2-fd00::3'],
  ['10.0.0.6', 'fd00::2-fd00::3'],
].map(texts => texts.map(rangeOf))
const owner = fc.constantFrom(undefined, undefined, 'ns/a', 'ns/b')
const named = fc.constantFrom(...NAMED)
const steps = fc.array(
  fc.record({
    do: fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom('lease', 'release') },
      {
        weight: 4,
        arbitrary: fc.constantFrom(
          'lease at',
          'lease within',
          'reserve',
          'unreserve',
          'give back',
          'change CIDR',
          'break',
        ),
      },
    ),
    id: fc.integer({ min: 0, max: 9 }).map(String),
    owner,
    named,
    within: fc.constantFrom(...RANGES),
    podCidrs: fc.constantFrom(...POD_CIDRS),
    afterMs: fc.oneof(
      { weight: 9, arbitrary: fc.nat(20) },
      { weight: 1, arbitrary: fc.constantFrom(COOLDOWN_MS, KEEP_MS) },
    ),
    jumpMs: fc.constantFrom(-1_000_000, 1_000_000),
  }),
  // Long ones: the interesting states lie deep.
  { maxLength: 100, size: 'max' },
)

type Step = (typeof steps extends fc.Arbitrary<infer Steps extends readonly unknown[]> ? Steps : never)[number]

interface Ask {
  readonly pool: Pool
  readonly owner: string | undefined
  readonly wanted: string | undefined
  readonly within: readonly AddressRange[]
  readonly now: number
}

/** The model: which addresses an attachment has, who had an address last and until when, and for whom it is reserved. */
class Model {
  readonly leased = new Map<string, { readonly owner: string | undefined; readonly addresses: readonly string[] }>()
  readonly freed = new Map<string, { readonly at: number; readonly owner: string | undefined }>()
  readonly reserved = new Map<string, string>()
  lease(id: string, answer: readonly string[] | undefined, ask: Ask): void {
    const held = this.leased.get(id)?.addresses
    if (held !== undefined) {
      const fits = (ask.wanted === undefined || held.includes(ask.wanted)) && held.every(each => isWithin(ask, each))
      const want = fits ? held : undefined
      return expect(String(answer) === String(want), `${id} has ${held}, was answered ${answer}`)
    }
    if (answer === undefined) return expect(this.#lacks(ask), `${id} was refused, but there are addresses`)
    const sought = ask.wanted ?? String(answer[0])
    expect(answer.includes(sought) && answer.length === familiesOf(ask.pool).length, `${answer}, not ${sought}`)
    for (const address of answer) {
      expect(this.#trouble(address, ask) === undefined, `${address}: ${this.#trouble(address, ask)}`)
      const own = [...this.freed].filter(([key, { at, owner }]) => {
        const isKept = owner !== undefined && owner === ask.owner && at + KEEP_MS > ask.now
        return (
          isKept && isIn(ask.pool, key) && isWithin(ask, key) && !this.reserved.has(key) && isV6(key) === isV6(address)
        )
      })
      const isFirst = address === ask.wanted || this.reserved.has(address) || own.length === 0
      expect(isFirst || own.some(([key]) => key === address), `${address} is leased, but others are kept`)
    }
    answer.forEach(address => this.freed.delete(address))
    this.leased.set(id, { owner: ask.owner, addresses: answer })
  }

  release(id: string, at: number): void {
    const lease = this.leased.get(id)
    for (const address of lease?.addresses ?? []) this.freed.set(address, { at, owner: lease?.owner })
    this.leased.delete(id)
  }

  #trouble(address: string, ask: Ask): string | undefined {
    const { pool, owner, now } = ask
    if (!isIn(pool, address)) return 'the pool does not have it'
    if (!isWithin(ask, address)) return 'the ranges do not have it'
    if ([...this.leased.values()].some(({ addresses }) => addresses.includes(address))) return 'somebody has it'
    if ((this.reserved.get(address) ?? owner) !== owner) return 'it is reserved'
    const { at = -Infinity, owner: last } = this.freed.get(address) ?? {}
    return at + COOLDOWN_MS > now && (owner === undefined || last !== owner) ? 'it cools down' : undefined
  }

  #lacks(ask: Ask): boolean {
    const last = this.freed.get(ask.wanted ?? '')
    const isKept = last?.owner !== undefined && last.owner !== ask.owner && last.at + KEEP_MS > ask.now
    if (ask.wanted !== undefined && (isKept || this.#trouble(ask.wanted, ask) !== undefined)) return true
    const held = [...this.leased.values()].flatMap(({ addresses }) => addresses)
    const known = new Set([...held, ...this.freed.keys(), ...this.reserved.keys()])
    const sought = [...known].filter(each => isIn(ask.pool, each) && isWithin(ask, each))
    const busy = sought.filter(each => this.#trouble(each, ask) !== undefined)
    if (ask.within.some(({ first, last }) => ![first, last].every(each => isIn(ask.pool, formatAddress(each)))))
      return true
    return familiesOf(ask.pool).some(family => countOf(busy, family) === sizeFor(ask, family))
  }
}

/** A block that was given back was at rest: nothing of it cools down, and what drained is kept for nobody. */
function forget(model: Model, changes: readonly StoredChange[]): void {
  for (const change of changes) {
    if (change.type !== 'block-returned') continue
    for (const key of model.freed.keys()) if (containsAddress(change.prefix, parseAddress(key))) model.freed.delete(key)
  }
}

function isIn(pool: Pool, address: string): boolean {
  return pool.prefixes.some(prefix => containsAddress(prefix, parseAddress(address)))
}

/** True unless the request has ranges of the address's family, and none has it. */
function isWithin({ within }: Pick<Ask, 'within'>, address: string): boolean {
  const { family, value } = parseAddress(address)
  const ranges = within.filter(({ first }) => first.family === family)
  return ranges.length === 0 || ranges.some(({ first, last }) => first.value <= value && value <= last.value)
}

/** How many addresses of the family the request may get when all are free. */
function sizeFor({ pool, within }: Ask, family: Family): bigint {
  const ranges = within.filter(({ first }) => first.family === family)
  if (ranges.length === 0) return capacityOf(pool, family)
  return ranges.reduce((sum, { first, last }) => sum + last.value - first.value + 1n, 0n)
}

function isV6(address: string): boolean {
  return address.includes(':')
}

function rangeOf(text: string): AddressRange {
  const [first = text, last = first] = text.split('-')
  return { first: parseAddress(first), last: parseAddress(last) }
}

function countOf(addresses: readonly string[], family: Family): bigint {
  return BigInt(addresses.filter(each => parseAddress(each).family === family).length)
}

function expect(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise)
}

/** Makes the history, and compares each answer with the model's. `restarts`: at a break, or else the clock is set. */
function run(pool: Pool, story: readonly Step[], restarts: boolean): void {
  const store = new SqliteStore(':memory:', { bootId: 'b', initStartTicks: 1, hostNetnsInode: 2 })
  const model = new Model()
  let now = T0
  const restore = (): State => restoreState([pool], store.load(), now)
  let state = restore()
  // What the clock was set by is not time that has passed: the model does not have it.
  let setBy = 0
  // Of the pool as it is now: what was handed over last is its prefixes.
  const poolNow = (): Pool => state.pools.get(pool.name)?.pool ?? pool
  const changeCidrs = (podCidrs: readonly Prefix[]): void => {
    const decision = handOver(state, { podCidrs, pool: undefined }, now)
    // A block in the way that is not at rest: nothing changes.
    if (decision.kind !== 'handed-over') return
    store.commit(decision.changes)
    state = restore()
    forget(model, decision.changes)
  }
  if (pool === HANDED_OVER) changeCidrs(POD_CIDRS[0] ?? [])
  const apply = (events: readonly LeaseEvent[]): void => {
    for (const event of events) evolve(state, event)
    store.commit(events)
    state.leases.settle()
    forget(model, events)
  }
  for (const step of story) {
    now += step.afterMs
    const attachment = { network: 'net', containerId: step.id, ifName: 'eth0' }
    const address = parseAddress(step.named)
    switch (step.do) {
      case 'lease':
      case 'lease at':
      case 'lease within': {
        const wanted = step.do === 'lease at' ? step.named : undefined
        const keep = step.owner === undefined ? {} : { owner: step.owner, stickySeconds: KEEP_MS / 1000 }
        const exact = wanted === undefined ? {} : { addresses: [address] }
        const within = step.do === 'lease within' ? step.within : []
        const ranges = within.length === 0 ? {} : { within }
        const decision = allocate(state, { attachment, ...keep, ...exact, ...ranges }, now)
        if (decision.kind === 'leased') apply(decision.events)
        const answered =
          decision.kind === 'leased' || decision.kind === 'already-leased' ? decision.lease.addresses : undefined
        const answer = answered?.map(each => formatAddress(each.address))
        model.lease(step.id, answer, { pool: poolNow(), owner: step.owner, wanted, within, now: now - setBy })
        break
      }
      case 'release': {
        const decision = release(state, { attachment }, { nowUnixMs: now, reason: 'del' })
        if (decision.kind === 'released') apply(decision.events)
        model.release(step.id, now - setBy)
        break
      }
      case 'reserve': {
        const owner = step.owner ?? 'ns/c'
        const decision = reserve(state, { address, owner }, now)
        const isFree = isIn(poolNow(), step.named) && (model.reserved.get(step.named) ?? owner) === owner
        expect((decision.kind === 'reserved') === isFree, `${step.named} for ${owner}: ${decision.kind}`)
        if (decision.kind === 'reserved') {
          apply(decision.events)
          model.reserved.set(step.named, decision.reservation.owner)
        }
        break
      }
      case 'unreserve':
        apply(unreserve(state, address, now))
        model.reserved.delete(step.named)
        break
      case 'give back':
        // The schema refuses to give back a block that has a lease.
        apply(giveBack(state, now))
        break
      case 'change CIDR':
        if (pool === HANDED_OVER) changeCidrs(step.podCidrs)
        break
      case 'break':
        if (restarts) {
          state = restore()
        } else {
          apply([{ type: 'clock-set', stepMs: step.jumpMs }])
          now += step.jumpMs
          setBy += step.jumpMs
        }
    }
  }
  store.close()
}

t.test(
  'no address is leased twice, in its cooldown or to the wrong owner, over restarts and clocks that are set; the same attachment gets the same answer (invariant 1, R8, R9, R33)',
  async t => {
    fc.assert(fc.property(pools, steps, fc.boolean(), run), { numRuns: 300 })
    t.pass('300 histories')
  },
)
