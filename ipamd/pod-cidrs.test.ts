import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { formatAddress } from '../lib/net/address.ts'
import { formatPrefix, parsePrefix } from '../lib/net/prefix.ts'
import type { Pool } from './allocator/pool.ts'
import { LeaseService } from './lease-service.ts'
import { SqliteStore, type Store } from './store/store.ts'

const COOLDOWN_MS = 30_000
const BLOCK = { prefixes: [], blockPrefixLength: { 4: 24, 6: 64 }, exclude: [], cooldownMs: COOLDOWN_MS }
const PODS: Pool = { name: 'pods', blockSource: { type: 'kubernetes' }, ...BLOCK }
const OTHER: Pool = { ...BLOCK, name: 'other', prefixes: [parsePrefix('10.9.0.0/16')] }

/** An ipamd that can be restarted, with the blocks that the node was told of. */
class Node {
  readonly path: string
  readonly announced: string[] = []
  readonly returned: string[] = []
  nowUnixMs = 1_700_000_000_000
  store: Store
  service: LeaseService

  constructor(t: Test) {
    const folder = mkdtempSync(join(tmpdir(), 'ipamd-pod-cidrs-'))
    this.path = join(folder, 'ipam.db')
    this.store = this.#open()
    this.service = this.#serve()
    t.teardown(() => {
      this.store.close()
      rmSync(folder, { recursive: true })
    })
  }

  restart(): void {
    this.store.close()
    this.store = this.#open()
    this.service = this.#serve()
  }

  async handOver(
    ...podCidrs: readonly string[]
  ): Promise<{ podCidrs: readonly string[]; draining: readonly string[] }> {
    const reply = await this.service.handOverPodCidrs({ podCidrs: podCidrs.map(parsePrefix) })
    return { podCidrs: reply.podCidrs.map(formatPrefix), draining: reply.draining.map(formatPrefix) }
  }

  async lease(containerId: string, pool?: string): Promise<readonly string[]> {
    const { lease } = await this.service.allocate({ attachment: attachment(containerId), pool })
    return lease.addresses.map(({ address }) => formatAddress(address))
  }

  async release(containerId: string): Promise<void> {
    await this.service.release({ attachment: attachment(containerId) }, 'del')
  }

  #open(): Store {
    return new SqliteStore(this.path, { bootId: 'b', initStartTicks: 1, hostNetnsInode: 2 })
  }

  #serve(): LeaseService {
    return new LeaseService([PODS, OTHER], {
      store: this.store,
      nowUnixMs: () => this.nowUnixMs,
      uptimeMs: () => this.nowUnixMs,
      onBlockTaken: async block => void this.announced.push(formatPrefix(block)),
      onBlockReturned: async block => void this.returned.push(formatPrefix(block)),
    })
  }
}

function attachment(containerId: string) {
  return { network: 'net', containerId, ifName: 'eth0' }
}

t.test('nothing is leased before pod CIDRs are handed over, and STATUS says so (R30: fail closed)', async t => {
  const node = new Node(t)
  const refusal = { type: 'not-available-yet', message: /pool "pods" is not available yet: .*pod CIDRs/ }
  await t.rejects(node.lease('a'), refusal)
  await t.rejects(node.service.checkReady(undefined), refusal)
  t.match((await node.service.pools())[0], { name: 'pods', capacity: 0n, leased: 0, cooling: 0 })
  t.same(await node.service.podCidrs(undefined), { pool: 'pods', podCidrs: [], draining: [] })
  t.same(await node.lease('b', 'other'), ['10.9.0.2'], 'other pools do not wait')
  await node.handOver('10.244.1.0/24', 'fd00:10:244:1::/64')
  await node.service.checkReady(undefined)
  t.same(await node.lease('a'), ['10.244.1.2', 'fd00:10:244:1::2'])
})

t.test('what was handed over survives a restart without the one who did (R13)', async t => {
  const node = new Node(t)
  t.same(await node.handOver('10.244.1.0/24'), { podCidrs: ['10.244.1.0/24'], draining: [] })
  t.same(node.announced, ['10.244.1.0/24'], 'the node is ready for the block when it is answered')
  t.same(await node.lease('a'), ['10.244.1.2'])
  node.restart()
  t.same(await node.lease('a'), ['10.244.1.2'])
  t.same(await node.lease('b'), ['10.244.1.3'])
  t.same(await node.handOver('10.244.1.0/24'), { podCidrs: ['10.244.1.0/24'], draining: [] }, 'idempotent')
})

t.test(
  'a changed pod CIDR drains the block before: leases stay, nothing new comes from it, it goes when empty',
  async t => {
    const node = new Node(t)
    await node.handOver('10.244.1.0/24', 'fd00:1::/64')
    await node.lease('a')
    const changed = await node.handOver('10.244.2.0/24', 'fd00:1::/64')
    t.same(changed, { podCidrs: ['10.244.2.0/24', 'fd00:1::/64'], draining: ['10.244.1.0/24'] })
    t.same(await node.lease('a'), ['10.244.1.2', 'fd00:1::2'], 'the same answer to the same attachment')
    t.same(await node.lease('b'), ['10.244.2.2', 'fd00:1::3'])
    node.restart()
    await node.service.giveBackBlocks()
    t.same((await node.service.podCidrs(undefined)).draining.map(formatPrefix), ['10.244.1.0/24'])
    await node.release('a')
    node.nowUnixMs += COOLDOWN_MS
    t.same((await node.service.giveBackBlocks()).map(formatPrefix), ['10.244.1.0/24'])
    t.same((await node.service.podCidrs(undefined)).draining, [])
  },
)

t.test('a pod CIDR that comes back while it drains is used again, with its cooldowns', async t => {
  const node = new Node(t)
  await node.handOver('10.244.1.0/29')
  for (const id of ['a', 'b', 'c']) await node.lease(id)
  await node.release('b')
  await node.handOver('10.244.2.0/29')
  await node.release('c')
  t.same(await node.handOver('10.244.1.0/29'), { podCidrs: ['10.244.1.0/29'], draining: ['10.244.2.0/29'] })
  t.same(await node.lease('d'), ['10.244.1.5'], 'what was never leased')
  t.same(await node.lease('e'), ['10.244.1.6'])
  await t.rejects(node.lease('f'), { type: 'pool-exhausted', message: /2 cooling down/ })
  node.nowUnixMs += COOLDOWN_MS
  t.same(await node.lease('f'), ['10.244.1.3'])
  t.same(await node.lease('g'), ['10.244.1.4'])
})

t.test(
  'a block that is in the way and at rest is cleared up behind, and made ready when it comes back (R29)',
  async t => {
    const node = new Node(t)
    await node.handOver('10.0.0.0/25')
    await node.handOver('10.0.0.0/24')
    t.same(node.announced, ['10.0.0.0/25', '10.0.0.0/24'])
    await node.service.giveBackBlocks()
    t.same(node.returned, ['10.0.0.0/25'])
    await node.handOver('10.0.0.0/25')
    t.same(node.announced.slice(2), ['10.0.0.0/25'])
    await node.service.giveBackBlocks()
    t.same(node.returned.slice(1), ['10.0.0.0/24'])
  },
)

t.test('a family that is handed over no more is leased no more', async t => {
  const node = new Node(t)
  await node.handOver('10.244.1.0/24', 'fd00:1::/64')
  await node.lease('a')
  t.same(await node.handOver('fd00:1::/64'), { podCidrs: ['fd00:1::/64'], draining: ['10.244.1.0/24'] })
  t.same(await node.lease('b'), ['fd00:1::3'])
})

t.test('a pod CIDR that overlaps is refused with both ranges, and changes nothing (R30, R31)', async t => {
  const node = new Node(t)
  await node.handOver('10.244.1.0/24')
  await node.lease('a')
  const cases = [
    { wanted: '10.9.4.0/24', message: '10.9.4.0/24 overlaps 10.9.0.0/16, pool "other"' },
    { wanted: '10.244.0.0/16', message: '10.244.0.0/16 overlaps 10.244.1.0/24, a block of pool "pods" with 1 leased' },
    { wanted: '10.244.1.0/25', message: '10.244.1.0/25 overlaps 10.244.1.0/24, a block of pool "pods" with 1 leased' },
  ]
  for (const { wanted, message } of cases) {
    await t.rejects(node.handOver(wanted), { type: 'overlaps', status: 409, message })
    t.same((await node.service.podCidrs(undefined)).podCidrs.map(formatPrefix), ['10.244.1.0/24'])
  }
  await node.release('a')
  await t.rejects(node.handOver('10.244.0.0/16'), { message: /cool down/ })
  node.nowUnixMs += COOLDOWN_MS
  t.same(
    await node.handOver('10.244.0.0/16'),
    { podCidrs: ['10.244.0.0/16'], draining: [] },
    'an empty block makes way',
  )
})

t.test('pod CIDRs for a pool that does not take them are refused', async t => {
  const node = new Node(t)
  const podCidrs = [parsePrefix('10.244.1.0/24')]
  await t.rejects(node.service.handOverPodCidrs({ podCidrs, pool: 'other' }), {
    type: 'unknown-pool',
    message: 'pool "other" does not take pod CIDRs: want one with blockSource.type "kubernetes"',
  })
})
