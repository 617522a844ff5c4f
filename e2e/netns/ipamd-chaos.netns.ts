import './harness/isolated.ts'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { Background } from './harness/background.ts'
import { Ipamd, type IpamdOptions } from './harness/ipamd.ts'
import { NoAnswer, addressesIn, allLeases, callIpamd, problemText } from './harness/lease-client.ts'
import { type Random, countFrom, randomFrom, seedFrom } from './harness/random.ts'
import { BIN_FOLDER, RUN_FOLDER } from './harness/tulle.ts'
import { until } from './harness/until.ts'

// 64 clients at once against the built ipamd, which is killed with SIGKILL at random and started again: no address has two
// holders, nothing that was answered is lost, no client waits for ever (invariants 1, 2 and 6).
//
// The pool is smaller than what the clients want, without a cooldown: addresses change hands all the time.

const SEED = seedFrom('TULLE_CHAOS_SEED')
const ROUNDS = countFrom('TULLE_CHAOS_ROUNDS', 6)
const CLIENTS = 64
const SOCKET = join(RUN_FOLDER, 'ipamd.sock')
/** Answers between a start and the kill. */
const MIN_ANSWERS = 20

t.test(`ipamd killed ${ROUNDS} times under ${CLIENTS} clients`, { timeout: 30_000 + ROUNDS * 15_000 }, async t => {
  t.comment(`TULLE_CHAOS_SEED=${SEED} TULLE_CHAOS_ROUNDS=${ROUNDS}`)
  await using folder = await mkdtempDisposable(join(tmpdir(), 'tulle-chaos-'))
  const options: IpamdOptions = {
    executable: join(BIN_FOLDER, 'ipamd'),
    configFile: join(folder.path, 'ipamd.json'),
    config: {
      socket: SOCKET,
      stateDir: join(folder.path, 'state'),
      pools: [
        {
          name: 'default',
          prefixes: ['10.244.0.0/26', 'fd00:10:244::/120'],
          blockPrefixLength: { ipv4: 28, ipv6: 124 },
          cooldownSeconds: 0,
        },
      ],
    },
  }
  const random = randomFrom(SEED)
  const crowd = new Crowd(random)
  for (let round = 0; round < ROUNDS; round++) {
    if (random.below(4) === 0) await killWhileStarting(options, random)
    await using ipamd = await Ipamd.start(options)
    await crowd.compare(t, `round ${round}, after the start`)
    // In answers, not in time: on a slow machine, too, the kill comes in the middle of the work.
    const goal = crowd.answered + MIN_ANSWERS + random.below(200)
    const killed = until('the clients were busy', () => crowd.answered >= goal).then(() => ipamd.kill())
    await Promise.all([killed, crowd.runUntilTheDaemonIsGone()])
  }
  await using ipamd = await Ipamd.start(options)
  await crowd.compare(t, 'after the last kill')
  t.equal((await ipamd.stop()).exitCode, 0, 'it ends in order')

  t.same(crowd.complaints, [], 'nothing that no client may see was seen')
  t.comment(`${crowd.answered} answers, ${crowd.lost} requests that a kill left without one, ${crowd.refused} refusals`)
  t.ok(crowd.lost > 0, 'kills hit requests')
})

/** A daemon that dies before it is ready must leave a store that the next one takes. */
async function killWhileStarting({ executable, configFile }: IpamdOptions, random: Random): Promise<void> {
  await using daemon = Background.start([executable, '--config', configFile])
  await pause(random.below(120))
  await daemon.kill()
}

/** What a client knows about its container. Only an answer makes it sure. */
type Knowledge =
  { readonly is: 'leased'; readonly addresses: readonly string[] } | { readonly is: 'free' } | { readonly is: 'unsure' }

class Crowd {
  readonly complaints: string[] = []
  answered = 0
  refused = 0
  lost = 0
  readonly #random: Random
  readonly #known = new Map<string, Knowledge>()
  /** Who was told that it has an address, and has not begun to give it back. */
  readonly #holders = new Map<string, string>()

  constructor(random: Random) {
    this.#random = random
    for (let client = 0; client < CLIENTS; client++) this.#known.set(`container-${client}`, { is: 'free' })
  }

  async runUntilTheDaemonIsGone(): Promise<void> {
    await Promise.all([...this.#known.keys()].map(containerId => this.#run(containerId)))
  }

  /** The daemon's leases are what the answers said. Those without an answer may have happened or not; then they are known. */
  async compare(t: Test, when: string): Promise<void> {
    const leases = await allLeases(SOCKET)
    const all = [...leases.values()].flat()
    t.equal(new Set(all).size, all.length, `${when}: no address has two leases (invariant 1)`)
    const wrong: string[] = []
    for (const [containerId, known] of this.#known) {
      const stored = leases.get(containerId)
      if (known.is === 'leased' && stored?.join() !== known.addresses.join()) {
        wrong.push(`${containerId} was answered ${known.addresses.join()}, has ${stored?.join() ?? 'nothing'}`)
      }
      if (known.is === 'free' && stored !== undefined) {
        wrong.push(`${containerId} was released, has ${stored.join()}`)
      }
      this.#learn(containerId, stored)
    }
    t.same(wrong, [], `${when}: what was answered is so (invariant 2)`)
  }

  async #run(containerId: string): Promise<void> {
    for (;;) {
      try {
        await this.#once(containerId)
        this.answered += 1
      } catch (failure) {
        if (!(failure instanceof NoAnswer)) throw failure
        this.lost += 1
        if (failure.timedOut) this.complaints.push(`${containerId}: ${failure.message}`)
        return
      }
    }
  }

  async #once(containerId: string): Promise<void> {
    const known = this.#known.get(containerId)
    // Asking again for what one has is as likely as giving it back: a kubelet that was killed does that.
    if (known?.is === 'leased' && this.#random.below(2) === 0) return this.#release(containerId)
    return this.#allocate(containerId)
  }

  async #allocate(containerId: string): Promise<void> {
    const before = this.#known.get(containerId)
    if (before?.is === 'free') this.#known.set(containerId, { is: 'unsure' })
    const { status, body } = await callIpamd(SOCKET, {
      path: '/v1/leases',
      body: { attachment: attachment(containerId) },
    })
    if (String(body['type']).endsWith('pool-exhausted')) {
      this.refused += 1
      if (before?.is === 'leased') this.complaints.push(`${containerId} has a lease: ${problemText(body)}`)
      if (before?.is === 'free') this.#known.set(containerId, before)
      return
    }
    if (status !== 200) throw new Error(`${containerId}: ${status} ${problemText(body)}`)
    const addresses = addressesIn(body['lease'])
    if (before?.is === 'leased' && before.addresses.join() !== addresses.join()) {
      this.complaints.push(`${containerId} had ${before.addresses.join()}, got ${addresses.join()}`)
    }
    for (const address of addresses) {
      const holder = this.#holders.get(address)
      if (holder !== undefined && holder !== containerId) {
        this.complaints.push(`${address} was given to ${containerId} while ${holder} has it`)
      }
    }
    this.#learn(containerId, addresses)
  }

  async #release(containerId: string): Promise<void> {
    // From here on somebody else may get them.
    this.#forget(containerId)
    this.#known.set(containerId, { is: 'unsure' })
    const { status, body } = await callIpamd(SOCKET, {
      path: '/v1/leases/release',
      body: { attachment: attachment(containerId) },
    })
    if (status !== 200) throw new Error(`${containerId}: ${status} ${problemText(body)}`)
    if (body['released'] !== true) this.complaints.push(`${containerId} had a lease, and released nothing`)
    this.#known.set(containerId, { is: 'free' })
  }

  #learn(containerId: string, addresses: readonly string[] | undefined): void {
    this.#forget(containerId)
    for (const address of addresses ?? []) this.#holders.set(address, containerId)
    this.#known.set(containerId, addresses === undefined ? { is: 'free' } : { is: 'leased', addresses })
  }

  #forget(containerId: string): void {
    for (const [address, holder] of this.#holders) if (holder === containerId) this.#holders.delete(address)
  }
}

function attachment(containerId: string) {
  return { network: 'chaos', containerId, ifName: 'eth0' }
}
