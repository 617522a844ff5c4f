import fc from 'fast-check'
import t from 'tap'
import { formatAddress } from '../lib/net/address.ts'
import { parsePrefix } from '../lib/net/prefix.ts'
import { allocate } from './allocator/allocate.ts'
import { capacityOf, familiesOf, type Pool } from './allocator/pool.ts'
import { release } from './allocator/release.ts'
import { evolve, restoreState, type State } from './allocator/state.ts'
import { SqliteStore } from './store/store.ts'

const COOLDOWN_MS = 50
const T0 = 1_700_000_000_000

function poolOf(prefixes: readonly string[], blocks: Pool['blockPrefixLength'], exclude: readonly string[] = []): Pool {
  const parsed = { prefixes: prefixes.map(parsePrefix), exclude: exclude.map(parsePrefix) }
  return { name: 'p', ...parsed, blockPrefixLength: blocks, cooldownMs: COOLDOWN_MS }
}

// Small enough to be exhausted by ten attachments, or not.
const pools = fc.constantFrom(
  poolOf(['10.0.0.0/29'], { 4: 30, 6: 64 }),
  poolOf(['10.0.0.0/28', 'fd00::/125'], { 4: 29, 6: 126 }, ['10.0.0.3/32']),
  poolOf(['10.0.0.0/24', 'fd00::/64'], { 4: 27, 6: 64 }),
)
const steps = fc.array(
  fc.record({
    do: fc.constantFrom('lease', 'lease', 'release', 'restart'),
    id: fc.integer({ min: 0, max: 9 }).map(String),
    afterMs: fc.nat(30),
  }),
  { maxLength: 100 },
)

/** The model: which addresses an attachment has, and when an address was freed. */
class Model {
  readonly #leased = new Map<string, readonly string[]>()
  readonly #freedAt = new Map<string, number>()

  lease(id: string, answer: readonly string[] | undefined, { pool, now }: { pool: Pool; now: number }): void {
    const held = this.#leased.get(id)
    if (held !== undefined) return expect(String(answer) === String(held), `${id} has ${held}, was answered ${answer}`)
    if (answer === undefined) return expect(this.#isExhausted(pool, now), `${id} was refused, but there are addresses`)
    expect(answer.length === familiesOf(pool).length, `${answer} lacks a family`)
    for (const address of answer) {
      expect(![...this.#leased.values()].flat().includes(address), `${address} is leased twice`)
      expect(!this.#isCooling(address, now), `${address} is leased in its cooldown`)
      this.#freedAt.delete(address)
    }
    this.#leased.set(id, answer)
  }

  release(id: string, now: number): void {
    for (const address of this.#leased.get(id) ?? []) this.#freedAt.set(address, now)
    this.#leased.delete(id)
  }

  #isCooling(address: string, now: number): boolean {
    return now - (this.#freedAt.get(address) ?? -Infinity) < COOLDOWN_MS
  }

  #isExhausted(pool: Pool, now: number): boolean {
    return familiesOf(pool).some(family => {
      const cooling = [...this.#freedAt.keys()].filter(
        each => each.includes(':') === (family === 6) && this.#isCooling(each, now),
      )
      return BigInt(this.#leased.size + cooling.length) === capacityOf(pool, family)
    })
  }
}

function expect(holds: boolean, otherwise: string): void {
  if (!holds) throw new Error(otherwise)
}

t.test(
  'no address is leased twice or in its cooldown, over restarts too; the same attachment gets the same answer (invariant 1, R8, R9)',
  async t => {
    fc.assert(
      fc.property(pools, steps, (pool, steps) => {
        const store = new SqliteStore(':memory:', { bootId: 'b', initStartTicks: 1, hostNetnsInode: 2 })
        const model = new Model()
        let state = restoreState([pool], store.load(), T0)
        let now = T0
        for (const step of steps) {
          now += step.afterMs
          const attachment = { network: 'net', containerId: step.id, ifName: 'eth0' }
          if (step.do === 'restart') state = restoreState([pool], store.load(), now)
          if (step.do === 'lease') {
            const decision = allocate(state, { attachment }, now)
            if (decision.kind === 'leased') apply(state, store, decision.events)
            const addresses = 'lease' in decision ? decision.lease.addresses : undefined
            model.lease(
              step.id,
              addresses?.map(each => formatAddress(each.address)),
              { pool, now },
            )
          }
          if (step.do === 'release') {
            const decision = release(state, { attachment }, { nowUnixMs: now, reason: 'del' })
            if (decision.kind === 'released') apply(state, store, decision.events)
            model.release(step.id, now)
          }
        }
        store.close()
      }),
      { numRuns: 200 },
    )
    t.pass('200 histories')
  },
)

function apply(state: State, store: SqliteStore, events: Parameters<SqliteStore['commit']>[0]): void {
  for (const event of events) evolve(state, event)
  store.commit(events)
}
