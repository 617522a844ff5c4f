import t from 'tap'
import { parseAddress } from '../net/address.ts'
import { parseIfName } from '../net/if-name.ts'
import { parseMac } from '../net/mac.ts'
import { defaultPrefix, hostPrefix, parseAddressWithLength } from '../net/prefix.ts'
import { diffPlan, renderProblem } from './diff.ts'
import { LINK_GROUP, ROUTE_PROTOCOL } from './marks.ts'
import { settingKey, type ObservedInterface, type ObservedState } from './observed.ts'
import { formatOwner } from './owner.ts'
import { planAttach } from './plan-attach.ts'

const ATTACHMENT = { network: 'pods', containerId: 'c1', ifName: 'eth0' }
const POD_ADDRESS = parseAddress('10.244.1.7')
const GATEWAY = parseAddress('169.254.1.1')
const HOST_MAC = parseMac('02:00:00:00:00:01')
const POD_MAC = parseMac('02:00:00:00:00:02')
const HOST_IF_NAME = parseIfName('tulx')

const PLAN = planAttach({
  attachment: ATTACHMENT,
  hostIfName: HOST_IF_NAME,
  hostMac: HOST_MAC,
  podIfName: parseIfName('eth0'),
  podMac: POD_MAC,
  mtuBytes: 1450,
  addresses: [POD_ADDRESS],
  viaHost: [],
  hostHasIpv6: false,
  hostDisablesIpv6: false,
  podDisablesIpv6: false,
})

const LINK = { mtuBytes: 1450, isUp: true, kind: 'veth', hasNoLinkLocal: true } as const

const HOST: ObservedInterface = {
  link: {
    ...LINK,
    index: 7,
    name: HOST_IF_NAME,
    mac: HOST_MAC,
    group: LINK_GROUP,
    peerIndex: 2,
    alias: formatOwner({ attachment: ATTACHMENT, isComplete: true }),
  },
  addresses: [{ address: hostPrefix(GATEWAY), isTentative: false }],
  routes: [{ to: hostPrefix(POD_ADDRESS), protocol: ROUTE_PROTOCOL }],
  neighbours: [{ address: POD_ADDRESS, mac: POD_MAC, isPermanent: false }],
}

const POD: ObservedInterface = {
  link: { ...LINK, index: 2, name: parseIfName('eth0'), mac: POD_MAC, group: 0, peerIndex: 7 },
  addresses: [{ address: hostPrefix(POD_ADDRESS), isTentative: false }],
  routes: [
    { to: hostPrefix(GATEWAY), protocol: 3 },
    { to: defaultPrefix(4), via: GATEWAY, protocol: 3 },
  ],
  neighbours: [{ address: GATEWAY, mac: HOST_MAC, isPermanent: true }],
}

const HEALTHY: ObservedState = {
  host: HOST,
  pod: POD,
  podLoopback: { ...LINK, index: 1, name: parseIfName('lo'), group: 0 },
  settings: new Map([
    [settingKey('host', 'net/ipv4/conf/tulx/rp_filter'), '1'],
    [settingKey('host', 'net/ipv4/conf/tulx/accept_redirects'), '0'],
    [settingKey('host', 'net/ipv4/neigh/tulx/base_reachable_time_ms'), '1209600000'],
    [settingKey('pod', 'net/ipv4/conf/eth0/arp_notify'), '1'],
  ]),
}

function host(change: Partial<ObservedInterface['link']>): ObservedState {
  return { ...HEALTHY, host: { ...HOST, link: { ...HOST.link, ...change } } }
}

function pod(change: Partial<ObservedInterface['link']>): ObservedState {
  return { ...HEALTHY, pod: { ...POD, link: { ...POD.link, ...change } } }
}

t.test('diffPlan() finds nothing wrong with what the plan made', async t => t.strictSame(diffPlan(PLAN, HEALTHY), []))

t.test('diffPlan() tolerates what a later plugin of the chain added (K4)', async t => {
  const more = parseAddressWithLength('192.168.7.1/24')
  const observed: ObservedState = {
    ...HEALTHY,
    pod: {
      ...POD,
      addresses: [...POD.addresses, { address: more, isTentative: false }],
      routes: [...POD.routes, { to: hostPrefix(more.address), protocol: 3 }],
      neighbours: [...POD.neighbours, { address: more.address, isPermanent: false }],
    },
  }
  t.strictSame(diffPlan(PLAN, observed), [])
})

// The kernel drops the neighbours of a link whose hardware address changes; the pod may have asked since.
t.test('diffPlan() tolerates that the pod has lost its neighbour, or learnt it again (K4)', async t => {
  for (const neighbours of [[], [{ address: GATEWAY, mac: HOST_MAC, isPermanent: false }]])
    t.strictSame(diffPlan(PLAN, { ...HEALTHY, pod: { ...POD, neighbours } }), [])
})

t.test('diffPlan() finds our route among several to the same prefix, wherever it stands (K4)', async t => {
  const theirs = { to: defaultPrefix(4), via: parseAddress('192.168.7.254'), protocol: 4 }
  for (const routes of [
    [theirs, ...POD.routes],
    [...POD.routes, theirs],
  ]) {
    t.strictSame(diffPlan(PLAN, { ...HEALTHY, pod: { ...POD, routes } }), [])
  }
})

// K2, K3: each thing that ADD made, broken one at a time, is named with what was found.
const BROKEN: readonly { readonly name: string; readonly observed: ObservedState; readonly want: readonly string[] }[] =
  [
    { name: 'the host end is gone', observed: { ...HEALTHY, host: undefined }, want: ['host: link tulx is missing'] },
    {
      name: 'the pod end is gone',
      observed: { ...HEALTHY, pod: undefined },
      want: ['host: link eth0 is missing in the pod'],
    },
    {
      name: 'the ends are of two pairs',
      observed: host({ peerIndex: 9 }),
      want: ['host: tulx and eth0 are not a pair'],
    },
    { name: 'the group is another', observed: host({ group: 0 }), want: ['host: tulx is in group 0'] },
    {
      name: 'the host end has another hardware address',
      observed: host({ mac: POD_MAC }),
      want: ['host: tulx has the hardware address 02:00:00:00:00:02'],
    },
    {
      name: 'the pod end has another hardware address',
      observed: pod({ mac: HOST_MAC }),
      want: ['host: eth0 has the hardware address 02:00:00:00:00:01'],
    },
    {
      name: 'the host end has another MTU',
      observed: host({ mtuBytes: 9000 }),
      want: ['host: tulx has an MTU of 9000'],
    },
    { name: 'the pod end has another MTU', observed: pod({ mtuBytes: 1280 }), want: ['host: eth0 has an MTU of 1280'] },
    { name: 'the host end is down', observed: host({ isUp: false }), want: ['host: tulx is down'] },
    { name: 'the pod end is down', observed: pod({ isUp: false }), want: ['pod: eth0 is down'] },
    { name: 'the alias is another', observed: host({ alias: 'x' }), want: ["host: tulx has the alias 'x'"] },
    {
      name: 'loopback is down',
      observed: { ...HEALTHY, podLoopback: { ...LINK, index: 1, name: parseIfName('lo'), group: 0, isUp: false } },
      want: ['pod: lo is down'],
    },
    {
      name: 'the settings of both ends are gone',
      observed: { ...HEALTHY, settings: new Map([[settingKey('host', 'net/ipv4/conf/tulx/rp_filter'), '0']]) },
      want: [
        'host: net/ipv4/conf/tulx/rp_filter is 0',
        'host: net/ipv4/conf/tulx/accept_redirects is not readable',
        'host: net/ipv4/neigh/tulx/base_reachable_time_ms is not readable',
        'pod: net/ipv4/conf/eth0/arp_notify is not readable',
      ],
    },
    {
      name: 'the address is gone',
      observed: { ...HEALTHY, pod: { ...POD, addresses: [] } },
      want: ['pod: eth0 has no address 10.244.1.7/32'],
    },
    {
      name: 'the address is tentative (R15)',
      observed: { ...HEALTHY, pod: { ...POD, addresses: [{ address: hostPrefix(POD_ADDRESS), isTentative: true }] } },
      want: ['pod: address 10.244.1.7/32 is still tentative'],
    },
    {
      name: 'the routes of the pod are gone',
      observed: { ...HEALTHY, pod: { ...POD, routes: [] } },
      want: ['pod: route to 169.254.1.1/32 through eth0 is missing', 'pod: route to 0.0.0.0/0 through eth0 is missing'],
    },
    {
      name: 'the default route goes elsewhere',
      observed: {
        ...HEALTHY,
        pod: {
          ...POD,
          routes: [
            { to: hostPrefix(GATEWAY), protocol: 3 },
            { to: defaultPrefix(4), via: POD_ADDRESS, protocol: 3 },
          ],
        },
      },
      want: ['pod: route to 0.0.0.0/0 through eth0 goes via 10.244.1.7'],
    },
    {
      name: 'the neighbour of the pod is another',
      observed: { ...HEALTHY, pod: { ...POD, neighbours: [{ address: GATEWAY, mac: POD_MAC, isPermanent: true }] } },
      want: ['pod: neighbour 169.254.1.1 on eth0 is 02:00:00:00:00:02'],
    },
    {
      name: 'the neighbour of the pod does not answer',
      observed: { ...HEALTHY, pod: { ...POD, neighbours: [{ address: GATEWAY, isPermanent: false }] } },
      want: ['pod: neighbour 169.254.1.1 on eth0 is unresolved'],
    },
    {
      name: 'the gateway of a pod that would have to ask for it is gone',
      observed: { ...HEALTHY, host: { ...HOST, addresses: [] } },
      want: ['host: tulx has no address 169.254.1.1/32'],
    },
    {
      name: 'the neighbour of the host is gone',
      observed: { ...HEALTHY, host: { ...HOST, neighbours: [] } },
      want: ['host: neighbour 10.244.1.7 on tulx is missing'],
    },
    {
      name: 'the neighbour of the host cannot follow the pod',
      observed: {
        ...HEALTHY,
        host: { ...HOST, neighbours: [{ address: POD_ADDRESS, mac: POD_MAC, isPermanent: true }] },
      },
      want: ['host: neighbour 10.244.1.7 on tulx is permanent'],
    },
    {
      name: 'the neighbour of the host is another',
      observed: {
        ...HEALTHY,
        host: { ...HOST, neighbours: [{ address: POD_ADDRESS, mac: HOST_MAC, isPermanent: false }] },
      },
      want: ['host: neighbour 10.244.1.7 on tulx is 02:00:00:00:00:01'],
    },
    {
      name: 'the route of the host is gone',
      observed: { ...HEALTHY, host: { ...HOST, routes: [] } },
      want: ['host: route to 10.244.1.7/32 through tulx is missing'],
    },
    {
      name: 'the route of the host is somebody else’s',
      observed: { ...HEALTHY, host: { ...HOST, routes: [{ to: hostPrefix(POD_ADDRESS), protocol: 4 }] } },
      want: ['host: route to 10.244.1.7/32 through tulx has protocol 4'],
    },
  ]
for (const { name, observed, want } of BROKEN) {
  t.test(`diffPlan() says so when ${name}`, async t => {
    const lines = diffPlan(PLAN, observed).map(renderProblem)
    t.strictSame(
      lines.map(line => line.replace(/ \(want: .*\)$/, '')),
      want,
    )
    for (const line of lines) t.match(line, / \(want: (ip|sysctl) /)
    // Who types the command must not turn a finished interface into one that the next ADD takes for a leftover.
    for (const line of lines) t.notMatch(line, /\badding\b/)
  })
}
