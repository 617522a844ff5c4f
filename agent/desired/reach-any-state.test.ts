import fc from 'fast-check'
import t from 'tap'
import { FakeNodeKernel, renderObservedNode } from '../../lib/kernel/fake-node-kernel.ts'
import { parseAddress } from '../../lib/net/address.ts'
import { parseIfName } from '../../lib/net/if-name.ts'
import { parseMac } from '../../lib/net/mac.ts'
import { parseAddressWithLength, parsePrefix } from '../../lib/net/prefix.ts'
import { Deadline } from '../../lib/time/deadline.ts'
import type { ClusterNode } from './cluster.ts'
import { desiredNode, type RoutingSettings } from './desired.ts'
import { diffNode } from './diff-node.ts'

// HOUSE rule 19 and checklist R28: from any state of the node to that which the cluster asks for, in one pass.

const SELF = 'node-0'
const soon = (): Deadline => Deadline.in(10_000)

interface World {
  readonly settings: RoutingSettings
  readonly nodes: readonly ClusterNode[]
  readonly mtuBytes: number
  readonly own: readonly string[]
}

// Nodes 1 to 4 may be on the link of node 0 (192.0.2.0/24), 5 to 7 never are; 8 and 9 claim what another has.
const node = fc.record({
  id: fc.integer({ min: 1, max: 9 }),
  block: fc.integer({ min: 1, max: 9 }),
  families: fc.constantFrom('4', '6', '46', ''),
  isMoved: fc.boolean(),
})
const world: fc.Arbitrary<World> = fc
  .record({
    mode: fc.constantFrom('direct', 'vxlan', 'auto'),
    vni: fc.constantFrom(117, 118),
    mtuBytes: fc.constantFrom(1500, 9000),
    selfFamilies: fc.constantFrom('4', '46', '6'),
    address: fc.constantFrom('192.0.2.1/24', '192.0.2.2/24'),
    nodes: fc.uniqueArray(node, { maxLength: 7, selector: ({ id }) => id }),
  })
  .map(({ mode, vni, mtuBytes, selfFamilies, address, nodes }) => ({
    settings: { mode, vni, port: 4789 } as const,
    mtuBytes,
    own: [address, '2001:db8::1/64'],
    nodes: [
      nodeOf(0, { block: 0, families: selfFamilies, ips: [address.replace('/24', ''), '2001:db8::1'] }),
      ...nodes.map(({ id, block, families, isMoved }) => {
        const isNear = id <= 4 && !isMoved
        const ips = isNear ? [`192.0.2.1${id}`, `2001:db8::1${id}`] : [`198.51.100.1${id}`, `2001:db8:1::1${id}`]
        return nodeOf(id, { block, families, ips })
      }),
    ],
  }))

function nodeOf(
  id: number,
  { block, families, ips }: { readonly block: number; readonly families: string; readonly ips: readonly string[] },
): ClusterNode {
  return {
    name: `node-${id}`,
    uid: `uid-${id}`,
    createdAtUnixMs: id,
    podCidrs: [
      ...(families.includes('4') ? [parsePrefix(`10.244.${block}.0/24`)] : []),
      ...(families.includes('6') ? [parsePrefix(`fd00:10:244:${block}::/64`)] : []),
    ],
    internalIps: ips.map(parseAddress),
  }
}

/** What somebody does to the node behind our back between two passes. */
const mischief = fc.constantFrom('nothing', 'delete the overlay', 'flush routes', 'leave strange entries')

t.test('desiredNode() and diffNode() reach any state from any other, and then rest', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(world, mischief), { minLength: 1, maxLength: 6 }), async steps => {
      const kernel = freshKernel()
      let held: readonly string[] = []
      for (const [wanted, what] of steps) {
        held = become(kernel, wanted, held)
        await disturb(kernel, what)
        await pass(kernel, wanted)
        const rest = await pass(kernel, wanted)
        if (rest.length > 0) throw new Error(`not at rest: ${JSON.stringify(rest)}`)

        const fresh = freshKernel()
        become(fresh, wanted, [])
        await pass(fresh, wanted)
        const [state, want] = [await kernel.observe(soon()), await fresh.observe(soon())].map(renderObservedNode)
        if (state !== want) throw new Error(`reached\n${state}\nwant\n${want}`)
      }
    }),
    { numRuns: 400 },
  )
})

function freshKernel(): FakeNodeKernel {
  const kernel = new FakeNodeKernel()
  kernel.addLink(parseIfName('eth0'))
  return kernel
}

/** Gives the node the addresses of `world` in place of those that it had. */
function become(kernel: FakeNodeKernel, { own, mtuBytes }: World, held: readonly string[]): readonly string[] {
  for (const text of held) kernel.deleteAddress('eth0', parseAddressWithLength(text))
  for (const text of own) kernel.addAddress('eth0', parseAddressWithLength(text))
  kernel.setMtu('eth0', mtuBytes)
  return own
}

async function pass(kernel: FakeNodeKernel, { settings, nodes }: World): Promise<readonly object[]> {
  const observed = await kernel.observe(soon())
  const { operations } = diffNode(desiredNode({ nodeName: SELF, settings, nodes, observed }), observed)
  const failures = await kernel.applyAll(operations, soon())
  if (failures.length > 0) throw new Error(failures.map(({ error }) => error.message).join('\n'))
  return operations
}

async function disturb(kernel: FakeNodeKernel, what: string): Promise<void> {
  const { routes, links } = await kernel.observe(soon())
  const link = parseIfName('vx-tulle')
  if (what === 'delete the overlay') await kernel.applyAll([{ do: 'delete-link', at: 'host', link }], soon())
  if (what === 'flush routes') {
    await kernel.applyAll(
      routes.map(({ to }) => ({ do: 'delete-node-route', to })),
      soon(),
    )
  }
  if (what === 'leave strange entries' && links.some(({ name }) => name === link)) {
    const mac = parseMac('aa:bb:cc:dd:ee:ff')
    const to = parseAddress('203.0.113.9')
    await kernel.applyAll(
      [
        { do: 'set-forwarding', link, mac, to },
        { do: 'set-neighbour', at: 'host', link, address: to, mac },
        { do: 'add-address', at: 'host', link, address: parseAddressWithLength('10.9.9.9/32') },
      ],
      soon(),
    )
  }
}
