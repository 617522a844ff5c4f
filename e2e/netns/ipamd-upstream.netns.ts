import './harness/isolated.ts'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Ipamd, type IpamdOptions } from './harness/ipamd.ts'
import { asObjects, asString, type JsonObject } from './harness/json.ts'
import { addressesIn, allLeases, callIpamd, NoAnswer, problemText } from './harness/lease-client.ts'
import { Netns } from './harness/namespace.ts'
import { countFrom, randomFrom, seedFrom } from './harness/random.ts'
import { BIN_FOLDER } from './harness/tulle.ts'
import { until } from './harness/until.ts'

// One built ipamd has the pool, and eight others get their blocks from it over its socket, as eight nodes on one machine do.
// Each has a network namespace of its own: a block's route is its node's.

const SEED = seedFrom('TULLE_UPSTREAM_SEED')
const ROUNDS = countFrom('TULLE_UPSTREAM_ROUNDS', 3)
const NODES = 8
/** Blocks of six addresses each for IPv4, and more for IPv6. */
const POOL = {
  name: 'default',
  prefixes: ['10.244.0.0/25', 'fd00:10:244::/118'],
  blockPrefixLength: { ipv4: 29, ipv6: 124 },
  cooldownSeconds: 0,
}
const ADDRESSES = 16 * 5

interface Daemon {
  readonly name: string
  readonly options: IpamdOptions
  ipamd: Ipamd
}

class Machine implements AsyncDisposable {
  readonly upstream: Daemon
  readonly nodes: readonly Daemon[]
  readonly #resources: AsyncDisposableStack

  private constructor(upstream: Daemon, nodes: readonly Daemon[], resources: AsyncDisposableStack) {
    this.upstream = upstream
    this.nodes = nodes
    this.#resources = resources
  }

  static async start(): Promise<Machine> {
    await using resources = new AsyncDisposableStack()
    const folder = resources.use(await mkdtempDisposable(join(tmpdir(), 'tulle-up-')))
    const socketOf = (name: string): string => join(folder.path, `run-${name}`, 'ipamd.sock')
    const daemon = async (name: string, pool: JsonObject): Promise<Daemon> => {
      const netns = resources.use(await Netns.create('up'))
      const config = { socket: socketOf(name), stateDir: join(folder.path, `state-${name}`), node: name, pools: [pool] }
      const options = {
        executable: join(BIN_FOLDER, 'ipamd'),
        configFile: join(folder.path, `${name}.json`),
        config,
        netns,
      }
      const made: Daemon = { name, options, ipamd: await Ipamd.start(options) }
      resources.defer(async () => void (await made.ipamd.kill()))
      return made
    }
    const upstream = await daemon('upstream', POOL)
    const source = { type: 'socket', socket: socketOf('upstream') }
    const nodes: Daemon[] = []
    for (let index = 0; index < NODES; index++) nodes.push(await daemon(`n${index}`, { ...POOL, blockSource: source }))
    return new Machine(upstream, nodes, resources.move())
  }

  node(index: number): Daemon {
    const node = this.nodes[index % NODES]
    if (node === undefined) throw new Error('no such node')
    return node
  }

  /** Every block of every node, as the nodes themselves see it. */
  async blocks(): Promise<readonly string[]> {
    const lists = await Promise.all(this.nodes.map(blocksOf))
    return lists.flat()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync()
  }
}

async function restart(daemon: Daemon): Promise<void> {
  await daemon.ipamd.kill()
  daemon.ipamd = await Ipamd.start(daemon.options)
}

function attachment(containerId: string): JsonObject {
  return { network: 'net', containerId, ifName: 'eth0' }
}

/** The addresses that were leased, or the problem. */
async function lease({ ipamd }: Daemon, containerId: string): Promise<readonly string[] | string> {
  const { status, body } = await callIpamd(ipamd.socketPath, {
    path: '/v1/leases',
    body: { attachment: attachment(containerId) },
    timeoutMs: 20_000,
  })
  return status === 200 ? addressesIn(body['lease']) : problemText(body)
}

async function release({ ipamd }: Daemon, containerId: string): Promise<void> {
  const { status } = await callIpamd(ipamd.socketPath, {
    path: '/v1/leases/release',
    body: { attachment: attachment(containerId) },
    timeoutMs: 20_000,
  })
  if (status !== 200) throw new Error(`no release of ${containerId}: ${status}`)
}

async function blocksOf({ ipamd }: Daemon): Promise<readonly string[]> {
  const { blocks } = await ipamd.get('/v1/blocks')
  return asObjects(blocks, 'blocks').map(each => asString(each['prefix'], 'prefix'))
}

/** No block at two nodes, no address at two nodes: every block has one length in each family, so equal is all there is to overlap. */
async function compare(t: Test, machine: Machine, when: string): Promise<void> {
  const blocks = await machine.blocks()
  t.equal(new Set(blocks).size, blocks.length, `no block is two nodes' (${when})`)
  const granted = new Set(await blocksOf(machine.upstream))
  t.same(
    blocks.filter(block => !granted.has(block)),
    [],
    `the upstream knows every block (${when})`,
  )
  const leases = await Promise.all(machine.nodes.map(({ ipamd }) => allLeases(ipamd.socketPath)))
  const addresses = leases.flatMap(each => [...each.values()].flat())
  t.equal(new Set(addresses).size, addresses.length, `no address is leased twice (${when})`)
}

t.test('eight nodes share a pool to its last address, and give it back (issue: block source socket)', async t => {
  await using machine = await Machine.start()
  const answers = await Promise.all(
    Array.from({ length: ADDRESSES }, (_, index) => lease(machine.node(index), `c${index}`)),
  )
  t.equal(answers.filter(each => typeof each !== 'string').length, ADDRESSES, String(answers.find(isText)))
  await compare(t, machine, 'all is leased')
  t.match(await lease(machine.node(0), 'more'), /pool-exhausted/)
  t.equal((await callIpamd(machine.node(0).ipamd.socketPath, { path: '/v1/status' })).status, 503, 'STATUS knows')

  // Only the first node gives addresses back, and the second gets them.
  for (let index = 0; index < ADDRESSES; index += NODES) await release(machine.node(0), `c${index}`)
  const again = await until(
    'a block of the first node is the second’s',
    async () => {
      const answer = await lease(machine.node(1), 'later')
      return typeof answer === 'string' ? undefined : answer
    },
    40_000,
  )
  t.equal(again.length, 2)
  await compare(t, machine, 'after blocks were given back')
})

t.test('without its upstream a node leases from its blocks, and says what it waits for', async t => {
  await using machine = await Machine.start()
  const node = machine.node(0)
  t.same(await lease(node, 'a'), ['10.244.0.2', 'fd00:10:244::2'])
  await machine.upstream.ipamd.kill()
  await restart(node)
  for (const id of ['b', 'c', 'd', 'e']) t.type(await lease(node, id), Array, `${id}: its block has room`)
  const refusal = await lease(node, 'f')
  t.match(refusal, /busy: pool "default" gets no block: upstream .*nobody listens/)
  t.match(problemText((await callIpamd(node.ipamd.socketPath, { path: '/v1/status' })).body), /busy: .*nobody listens/)
  machine.upstream.ipamd = await Ipamd.start(machine.upstream.options)
  t.equal((await callIpamd(node.ipamd.socketPath, { path: '/v1/status' })).status, 200, 'STATUS asks again')
  t.type(await lease(node, 'f'), Array)
  await compare(t, machine, 'the upstream is back')
})

t.test(`daemons on both sides are killed ${ROUNDS} times while blocks move (seed ${SEED})`, async t => {
  await using machine = await Machine.start()
  const random = randomFrom(SEED)
  const answered = new Map<string, { readonly node: Daemon; readonly addresses: readonly string[] }>()
  let lost = 0
  for (let round = 0; round < ROUNDS; round++) {
    let done = 0
    const clients = machine.nodes.map(async (node, index) => {
      for (let turn = 0; turn < 12; turn++) {
        const id = `r${round}-${index}-${turn}`
        try {
          const answer = await lease(node, id)
          if (typeof answer !== 'string') answered.set(id, { node, addresses: answer })
          const old = [...answered].find(([, each]) => each.node === node)
          if (random.below(2) === 0 && old !== undefined) {
            answered.delete(old[0])
            await release(node, old[0])
          }
        } catch (cause) {
          if (!(cause instanceof NoAnswer)) throw cause
          t.notOk(cause.timedOut, `nobody waits for ever: ${cause.message}`)
          lost += 1
        }
        done += 1
      }
    })
    const victims = [machine.upstream, machine.node(random.below(NODES)), machine.node(random.below(NODES))]
    const goal = 10 + random.below(30)
    const killed = until('the clients are busy', () => done >= goal).then(async () => {
      for (const victim of new Set(victims)) await restart(victim)
    })
    await Promise.all([killed, ...clients])
    await compare(t, machine, `round ${round}`)
    for (const [id, { node, addresses }] of answered) {
      t.same((await allLeases(node.ipamd.socketPath)).get(id), addresses, `${id} keeps what was answered`)
    }
  }
  t.comment(`${answered.size} leases hold, ${lost} requests went without an answer`)
})

function isText(answer: unknown): answer is string {
  return typeof answer === 'string'
}
