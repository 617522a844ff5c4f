import t, { type Test } from 'tap'
import { parseAddress } from '../net/address.ts'
import { parseIfName } from '../net/if-name.ts'
import { parseMac } from '../net/mac.ts'
import { formatPrefix, parseAddressWithLength, parsePrefix } from '../net/prefix.ts'
import { LINK_GROUP, NODE_ROUTE_METRIC, NODE_ROUTE_PROTOCOL, OVERLAY_IF_NAME } from '../plan/marks.ts'
import type { NodeKernel, ObservedNode } from '../plan/node-kernel.ts'
import type { NodeOperation } from '../plan/node-operation.ts'
import { Deadline, DeadlineExceeded } from '../time/deadline.ts'
import { renderObservedNode } from './fake-node-kernel.ts'

/** A node with eth0 (up, MTU 1500, 192.0.2.1/24 and 2001:db8::1/64), and nothing of ours. */
export interface NodeSubject {
  readonly kernel: NodeKernel
  /** Somebody else adds a route through eth0. */
  readonly addForeignRoute: (route: { readonly to: string; readonly metric: number }) => Promise<void>
  readonly dispose: () => Promise<void>
}

const ETH0 = parseIfName('eth0')
const OVERLAY = parseIfName(OVERLAY_IF_NAME)
const MAC = parseMac('02:00:00:00:00:01')
const PEER_MAC = parseMac('02:00:00:00:00:02')
const PEER = parseAddress('192.0.2.2')
const PEER6 = parseAddress('2001:db8::2')
const BLOCK = parsePrefix('10.244.2.0/24')
const BLOCK6 = parsePrefix('fd00:10:244:2::/64')
const GATEWAY6 = parseAddress('fe80::2')

const soon = (): Deadline => Deadline.in(10_000)
const vxlan = {
  do: 'add-vxlan',
  link: OVERLAY,
  mac: MAC,
  vni: 117,
  port: 4789,
  local: parseAddress('192.0.2.1'),
  mtuBytes: 1450,
} as const
const up = { do: 'set-link', at: 'host', link: OVERLAY, up: true } as const
const direct = { to: BLOCK, via: PEER, link: ETH0, isOnLink: false }
const direct6 = { to: BLOCK6, via: PEER6, link: ETH0, isOnLink: false }
const over = { to: BLOCK, via: BLOCK.address, link: OVERLAY, isOnLink: true }
const over6 = { to: BLOCK6, via: GATEWAY6, link: OVERLAY, isOnLink: false }

/** What every NodeKernel does, on whatever node. */
export function nodeKernelContract(name: string, open: () => Promise<NodeSubject>): void {
  const scenario = (title: string, run: (t: Test, subject: NodeSubject) => Promise<void>): void => {
    void t.test(`${name}: ${title}`, async t => {
      const subject = await open()
      try {
        await run(t, subject)
      } finally {
        await subject.dispose()
      }
    })
  }

  scenario(
    'observe() sees links, addresses and the routes of others, none of ours',
    async (t, { kernel, addForeignRoute }) => {
      await addForeignRoute({ to: '10.9.0.0/16', metric: 7 })
      await addForeignRoute({ to: 'fd09::/64', metric: 7 })
      const observed = await kernel.observe(soon())
      const eth0 = observed.links.find(({ name }) => name === ETH0)
      t.match(eth0, { mtuBytes: 1500, isUp: true, group: 0 })
      const addresses = observed.addresses.filter(({ linkIndex }) => linkIndex === eth0?.index)
      t.strictSame(
        addresses.map(({ address }) => formatPrefix(address)),
        ['192.0.2.1/24', '2001:db8::1/64'],
      )
      for (const text of ['10.9.0.0/16', 'fd09::/64']) {
        const route = observed.routes.find(({ to }) => formatPrefix(to) === text)
        t.match(route, { metric: 7, linkIndex: eth0?.index }, text)
        t.not(route?.protocol, NODE_ROUTE_PROTOCOL)
      }
      t.equal(renderObservedNode(observed), '')
    },
  )

  scenario('adds, changes and removes direct routes of both families', async (t, { kernel }) => {
    await succeed(kernel, [
      { do: 'add-node-route', ...direct },
      { do: 'add-node-route', ...direct6 },
    ])
    const [route] = ours(await kernel.observe(soon()))
    t.match(route, { to: BLOCK, via: PEER, protocol: NODE_ROUTE_PROTOCOL, metric: NODE_ROUTE_METRIC })
    t.equal(ours(await kernel.observe(soon())).length, 2)
    const other = parseAddress('192.0.2.3')
    await succeed(kernel, [{ do: 'change-node-route', ...direct, via: other }])
    t.match(
      ours(await kernel.observe(soon())).find(({ to }) => formatPrefix(to) === formatPrefix(BLOCK)),
      { via: other },
    )
    const removal = [
      { do: 'delete-node-route', to: BLOCK },
      { do: 'delete-node-route', to: BLOCK6 },
    ] as const
    await succeed(kernel, removal)
    t.equal(ours(await kernel.observe(soon())).length, 0)
    await succeed(kernel, removal) // absence is success
  })

  scenario('leaves routes of others to the same prefix alone', async (t, { kernel, addForeignRoute }) => {
    await addForeignRoute({ to: formatPrefix(BLOCK), metric: 7 })
    await succeed(kernel, [
      { do: 'add-node-route', ...direct },
      { do: 'change-node-route', ...direct, via: parseAddress('192.0.2.3') },
      { do: 'delete-node-route', to: BLOCK },
    ])
    const { routes } = await kernel.observe(soon())
    t.match(
      routes.filter(({ to }) => formatPrefix(to) === formatPrefix(BLOCK)),
      [{ metric: 7 }],
    )
  })

  scenario(
    'refuses to add over what has our metric, and goes on with the rest',
    async (t, { kernel, addForeignRoute }) => {
      await addForeignRoute({ to: formatPrefix(BLOCK), metric: NODE_ROUTE_METRIC })
      const failures = await kernel.applyAll(
        [
          { do: 'add-node-route', ...direct },
          { do: 'add-node-route', ...direct, to: parsePrefix('10.244.3.0/24'), via: parseAddress('203.0.113.1') },
          { do: 'add-node-route', ...direct6 },
        ],
        soon(),
      )
      t.strictSame(
        failures.map(({ operation, error }) => [operation.do, error.errno]),
        [
          ['add-node-route', 'EEXIST'],
          ['add-node-route', 'ENETUNREACH'],
        ],
      )
      t.equal(ours(await kernel.observe(soon())).length, 1, 'the third is there')
    },
  )

  scenario('makes the overlay, and what hangs on it', async (t, { kernel }) => {
    await succeed(kernel, overlay())
    const observed = await kernel.observe(soon())
    t.match(
      observed.links.find(({ name }) => name === OVERLAY),
      { kind: 'vxlan', group: LINK_GROUP, mac: MAC, mtuBytes: 1450, isUp: true, hasNoLinkLocal: true },
    )
    t.equal(
      renderObservedNode(observed),
      [
        'link 02:00:00:00:00:01 mtu 1450 up vni 117 port 4789 192.0.2.1',
        'address 10.244.1.0/32',
        'route 10.244.2.0/24 via 10.244.2.0 dev vx-tulle',
        'route fd00:10:244:2::/64 via fe80::2 dev vx-tulle',
        'neighbour 10.244.2.0 02:00:00:00:00:02',
        'neighbour fe80::2 02:00:00:00:00:02',
        'forwarding 02:00:00:00:00:02 192.0.2.2',
      ].join('\n'),
    )
    await succeed(kernel, [
      { do: 'set-mtu', link: OVERLAY, mtuBytes: 1400 },
      { do: 'set-forwarding', link: OVERLAY, mac: PEER_MAC, to: parseAddress('192.0.2.9') },
      { do: 'set-neighbour', at: 'host', link: OVERLAY, address: BLOCK.address, mac: MAC },
    ])
    const changed = renderObservedNode(await kernel.observe(soon()))
    for (const line of ['mtu 1400 up', `forwarding ${PEER_MAC} 192.0.2.9`, `neighbour 10.244.2.0 ${MAC}`]) {
      t.ok(changed.includes(line), line)
    }
    await succeed(kernel, [
      { do: 'delete-forwarding', link: OVERLAY, mac: PEER_MAC },
      { do: 'delete-neighbour', at: 'host', link: OVERLAY, address: BLOCK.address },
      { do: 'delete-address', at: 'host', link: OVERLAY, address: parseAddressWithLength('10.244.1.0/32') },
    ])
    t.notMatch(renderObservedNode(await kernel.observe(soon())), /forwarding|10\.244\.2\.0 02|address/)
    await succeed(kernel, [{ do: 'delete-link', at: 'host', link: OVERLAY }])
    t.equal(renderObservedNode(await kernel.observe(soon())), '', 'the device takes its routes with it')
    await succeed(kernel, [{ do: 'delete-link', at: 'host', link: OVERLAY }])
  })

  scenario('an overlay over IPv6', async (t, { kernel }) => {
    await succeed(kernel, [
      { ...vxlan, local: parseAddress('2001:db8::1'), mtuBytes: 1430 },
      { do: 'disable-link-local', at: 'host', link: OVERLAY },
      up,
      { do: 'set-forwarding', link: OVERLAY, mac: PEER_MAC, to: PEER6 },
    ])
    t.equal(
      renderObservedNode(await kernel.observe(soon())),
      [
        'link 02:00:00:00:00:01 mtu 1430 up vni 117 port 4789 2001:db8::1',
        'forwarding 02:00:00:00:00:02 2001:db8::2',
      ].join('\n'),
    )
  })

  scenario('moves a route between direct and overlay in one step', async (t, { kernel }) => {
    await succeed(
      kernel,
      overlay().filter(({ do: verb }) => verb !== 'add-node-route'),
    )
    for (const [from, to] of [
      [direct, over],
      [direct6, over6],
    ] as const) {
      await succeed(kernel, [
        { do: 'add-node-route', ...from },
        { do: 'change-node-route', ...to },
      ])
      t.match(ours(await kernel.observe(soon())).at(-1), { via: to.via })
      await succeed(kernel, [{ do: 'change-node-route', ...from }])
      t.match(ours(await kernel.observe(soon())).at(-1), { via: from.via })
    }
  })

  scenario('says of every operation whose link is missing that it failed', async (t, { kernel }) => {
    const failures = await kernel.applyAll(
      [up, { do: 'add-node-route', ...over }, { do: 'add-node-route', ...direct }],
      soon(),
    )
    t.strictSame(
      failures.map(({ error }) => error.errno),
      ['ENODEV', 'ENODEV'],
    )
    t.match(
      failures[1]?.error.message,
      /^ip route add 10\.244\.2\.0\/24 via 10\.244\.2\.0 dev vx-tulle onlink proto 118/,
    )
    t.equal(ours(await kernel.observe(soon())).length, 1)
  })

  scenario('does a thousand operations in one call', async (t, { kernel }) => {
    const blocks = Array.from({ length: 1000 }, (_, i) => parsePrefix(`10.${i >> 8}.${i & 255}.0/24`))
    await succeed(
      kernel,
      blocks.map(to => ({ do: 'add-node-route', ...direct, to })),
    )
    t.equal(ours(await kernel.observe(soon())).length, 1000)
    await succeed(
      kernel,
      blocks.map(to => ({ do: 'delete-node-route', to })),
    )
    t.equal(ours(await kernel.observe(soon())).length, 0)
  })

  scenario('starts nothing after the deadline', async (t, { kernel }) => {
    await t.rejects(kernel.applyAll([{ do: 'add-node-route', ...direct }], Deadline.in(0)), DeadlineExceeded)
    await t.rejects(kernel.observe(Deadline.in(0)), DeadlineExceeded)
    t.equal(ours(await kernel.observe(soon())).length, 0)
  })
}

function overlay(): readonly NodeOperation[] {
  return [
    vxlan,
    { do: 'disable-link-local', at: 'host', link: OVERLAY },
    up,
    { do: 'add-address', at: 'host', link: OVERLAY, address: parseAddressWithLength('10.244.1.0/32') },
    { do: 'set-forwarding', link: OVERLAY, mac: PEER_MAC, to: PEER },
    { do: 'set-neighbour', at: 'host', link: OVERLAY, address: BLOCK.address, mac: PEER_MAC },
    { do: 'set-neighbour', at: 'host', link: OVERLAY, address: GATEWAY6, mac: PEER_MAC },
    { do: 'add-node-route', ...over },
    { do: 'add-node-route', ...over6 },
  ]
}

async function succeed(kernel: NodeKernel, operations: readonly NodeOperation[]): Promise<void> {
  const failures = await kernel.applyAll(operations, soon())
  if (failures.length > 0) throw new Error(failures.map(({ error }) => error.message).join('\n'))
}

function ours(observed: ObservedNode): ObservedNode['routes'] {
  return observed.routes.filter(({ protocol }) => protocol === NODE_ROUTE_PROTOCOL)
}
