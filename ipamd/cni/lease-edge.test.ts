import t from 'tap'
import type { Ipam } from '../../lib/attach/edges.ts'
import { IpamProblem } from '../../lib/ipam/errors.ts'
import { IpamClient } from '../../lib/os/ipam-client.ts'
import { parseAddress } from '../../lib/net/address.ts'
import { parsePrefix } from '../../lib/net/prefix.ts'
import { Deadline } from '../../lib/time/deadline.ts'
import { startForTest } from '../api/test-daemon.ts'
import { LeaseService } from '../lease-service.ts'
import { SqliteStore } from '../store/store.ts'
import { leaseEdge } from './lease-edge.ts'

// What the engine is told about leases is the same whether it asks over the socket or in the daemon: served and direct differ in
// nothing (DESIGN: the parts).

const ASKER = { via: 'tulle', hostNetnsInode: 7 } as const
const WAIT_MS = 10_000
const ATTACHMENT = { network: 'net', containerId: 'c1', ifName: 'eth0' }
const POD = { namespace: 'ns', name: 'web' }
const long = (length: number): string => 'x'.repeat(length)
const addresses = ['10.244.0.5', '10.244.0.6'].map(parseAddress)

/** The leases of a service with the pools of startForTest(), asked as the daemon's own engine asks. */
function edgeOfDaemon(): { readonly edge: Ipam; readonly refusals: readonly string[] } {
  const pool = {
    name: 'default',
    prefixes: ['10.244.0.0/16', 'fd00:10:244::/56'].map(parsePrefix),
    blockPrefixLength: { 4: 24, 6: 64 },
    exclude: [],
    cooldownMs: 0,
  }
  const store = new SqliteStore(':memory:', { bootId: 'b', initStartTicks: 1, hostNetnsInode: 2 })
  const service = new LeaseService([pool], {
    store,
    nowUnixMs: () => 1_700_000_000_000,
    uptimeMs: () => 0,
    onBlockTaken: async () => {},
    onBlockReturned: async () => {},
  })
  const refusals: string[] = []
  const spool = { consume: async () => {} }
  return {
    edge: leaseEdge({ service, spool, asker: ASKER, countRefusal: problem => void refusals.push(problem) }),
    refusals,
  }
}

const REFUSED: readonly { readonly name: string; readonly ask: (ipam: Ipam, by: Deadline) => Promise<unknown> }[] = [
  ...(['network', 'containerId', 'ifName'] as const).flatMap(part => {
    const attachment = { ...ATTACHMENT, [part]: long(256) }
    return [
      {
        name: `allocate() of a ${part} of 256 bytes`,
        ask: (ipam: Ipam, by: Deadline) => ipam.allocate({ attachment }, by),
      },
      {
        name: `release() of a ${part} of 256 bytes`,
        ask: (ipam: Ipam, by: Deadline) => ipam.release({ attachment }, by),
      },
      { name: `find() of a ${part} of 256 bytes`, ask: (ipam: Ipam, by: Deadline) => ipam.find(attachment, by) },
    ]
  }),
  {
    name: 'collect() of a network of 256 bytes',
    ask: (ipam, by) => ipam.collect({ network: long(256), valid: [] }, by),
  },
  { name: 'status() of a pool of 254 bytes', ask: (ipam, by) => ipam.status(long(254), by) },
  ...Object.entries({
    'a pool of 254 bytes': { pool: long(254) },
    'a pod whose namespace has 254 bytes': { pod: { ...POD, namespace: long(254) } },
    'a pod whose name has 254 bytes': { pod: { ...POD, name: long(254) } },
    'a pod whose uid has 254 bytes': { pod: { ...POD, uid: long(254) } },
    'an owner of 508 bytes': { owner: long(508) },
    'two addresses of one family': { addresses },
    'stickiness without an owner': { stickySeconds: 60 },
    'stickiness of more than a month': { stickySeconds: 2_592_001, owner: 'ns/web' },
    'an unknown pool': { pool: 'x' },
    'an address of no pool': { addresses: [parseAddress('192.0.2.1')] },
  }).map(([name, wish]) => ({
    name: `allocate() for ${name}`,
    ask: (ipam: Ipam, by: Deadline) => ipam.allocate({ attachment: ATTACHMENT, ...wish }, by),
  })),
]

t.test('leaseEdge() refuses what the socket refuses, in the same words', async t => {
  await using daemon = await startForTest()
  const client = new IpamClient(daemon.socket, { asker: () => ASKER })
  for (const { name, ask } of REFUSED) {
    const { edge, refusals } = edgeOfDaemon()
    const direct = await refusalOf(() => ask(client, Deadline.in(WAIT_MS)))
    const served = await refusalOf(() => ask(edge, Deadline.in(WAIT_MS)))
    t.ok(direct.type, `${name} is refused`)
    t.same(served, direct, name)
    t.same(refusals, name.startsWith('allocate()') ? [direct.type] : [], `${name}: refused leases are counted`)
  }
})

t.test('leaseEdge() gives what the socket gives', async t => {
  await using daemon = await startForTest()
  const client = new IpamClient(daemon.socket, { asker: () => ASKER })
  const { edge } = edgeOfDaemon()
  const wish = { pod: POD, owner: 'ns/web', stickySeconds: 60, addresses: [parseAddress('10.244.0.5')] }
  const asked: readonly (readonly [name: string, ask: (ipam: Ipam, by: Deadline) => Promise<unknown>])[] = [
    ['status()', (ipam, by) => ipam.status(undefined, by)],
    ['allocate()', (ipam, by) => allocated(ipam.allocate({ attachment: ATTACHMENT, ...wish }, by))],
    ['find()', (ipam, by) => ipam.find(ATTACHMENT, by)],
    ['collect()', (ipam, by) => ipam.collect({ network: 'net', valid: [ATTACHMENT] }, by)],
    ['release()', (ipam, by) => ipam.release({ attachment: ATTACHMENT }, by)],
    ['release() of what has ended', (ipam, by) => ipam.release({ attachment: ATTACHMENT }, by)],
    ['find() of what has ended', (ipam, by) => ipam.find(ATTACHMENT, by)],
  ]
  for (const [name, ask] of asked) {
    const direct = await ask(client, Deadline.in(WAIT_MS))
    // Of a lease the daemon itself knows more: its owner.
    t.match(await ask(edge, Deadline.in(WAIT_MS)), direct, name)
  }
})

/** The lease, when it is durable. */
async function allocated(leasing: ReturnType<Ipam['allocate']>) {
  const { lease, isNew, whenDurable } = await leasing
  await whenDurable()
  return { lease, isNew }
}

/** What the engine makes its answer of. */
async function refusalOf(
  ask: () => Promise<unknown>,
): Promise<Partial<Pick<IpamProblem, 'type' | 'detail' | 'members'>>> {
  try {
    await ask()
    return {}
  } catch (failure) {
    if (!(failure instanceof IpamProblem)) throw failure
    const { type, detail, members } = failure
    return { type, detail, members }
  }
}
