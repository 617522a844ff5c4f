import t from 'tap'
import { parseAddress } from '../net/address.ts'
import { parseIfName } from '../net/if-name.ts'
import { parseMac } from '../net/mac.ts'
import { equalPrefixes, formatPrefix, parseAddressWithLength, parsePrefix } from '../net/prefix.ts'
import type { FakeLink, FakeNetns, FakeRoute } from '../kernel/fake-netns.ts'
import { hostIfNameOf } from '../plan/link-names.ts'
import type { ObservedPort } from '../plan/observed.ts'
import { placeOf, type Operation } from '../plan/operation.ts'
import { renderElement } from '../plan/nft-set.ts'
import { renderOperation } from '../plan/render.ts'
import { FakeNode, operationsIn, POD_PATH, type FakeOutcome } from './fake-edges.ts'

const ATTACHMENT = { network: 'net1', containerId: 'c1', ifName: 'eth0' }
const HOST_IF_NAME = hostIfNameOf(ATTACHMENT)
const ETH0 = parseIfName('eth0')
const OTHER_MAC = parseMac('02:00:00:00:00:77')

/** Something that happens to a pod's network, and the words by which CHECK has to name it. */
interface Mutation {
  readonly what: string
  readonly happen: () => void
  readonly says: string
}

interface Attached {
  readonly node: FakeNode
  readonly added: FakeOutcome
  /** What ADD did, in order. */
  readonly operations: readonly Operation[]
}

async function attach(config: Readonly<Record<string, unknown>> = {}): Promise<Attached> {
  const node = new FakeNode()
  const added = await node.run('ADD', { config })
  if (added.exitCode !== 0) throw new Error(added.stdout)
  return { node, added, operations: operationsIn(node.steps) }
}

function checkOf({ node, added }: Attached, config: Readonly<Record<string, unknown>> = {}): Promise<FakeOutcome> {
  return node.run('CHECK', { config: { ...config, prevResult: added.json } })
}

/**
 * For every operation of a plan: what could happen to what it made, one thing at a time. A new kind of operation has to come
 * with a mutation here.
 */
function mutationsOf(operation: Operation, node: FakeNode): readonly Mutation[] {
  const netns = placeOf(operation) === 'host' ? node.host : podOf(node)
  switch (operation.do) {
    case 'add-veth': {
      const [host, pod] = [linkIn(node.host, HOST_IF_NAME), linkIn(podOf(node), ETH0)]
      return [
        {
          what: 'the pair is deleted',
          happen: () => void node.host.deleteLink(host),
          says: `link ${HOST_IF_NAME} is missing`,
        },
        {
          what: 'the host MAC is another',
          happen: () => (host.mac = OTHER_MAC),
          says: `${HOST_IF_NAME} has the hardware address ${OTHER_MAC}`,
        },
        {
          what: 'the pod MAC is another',
          happen: () => (pod.mac = OTHER_MAC),
          says: `eth0 has the hardware address ${OTHER_MAC}`,
        },
        {
          what: 'the host MTU is another',
          happen: () => (host.mtuBytes = 1300),
          says: `${HOST_IF_NAME} has an MTU of 1300`,
        },
        { what: 'the pod MTU is another', happen: () => (pod.mtuBytes = 1300), says: 'eth0 has an MTU of 1300' },
        { what: 'the group is another', happen: () => (host.group = 0), says: `${HOST_IF_NAME} is in group 0` },
      ]
    }
    case 'add-bridge': {
      const says = `link ${operation.link} is missing`
      return [{ what: 'it is deleted', happen: () => void netns.deleteLink(linkIn(netns, operation.link)), says }]
    }
    case 'add-bridge-port': {
      const link = linkIn(netns, operation.link)
      const says = `${operation.link} is no port of a bridge`
      const other = () => netns.setPort(link, { bridgeIndex: 99 })
      return [
        { what: 'it is none any more', happen: () => delete link.port, says },
        { what: 'it is one of another', happen: () => void other(), says: `${operation.link} is a port of another` },
      ]
    }
    case 'add-forwarding': {
      const says = `${operation.link} takes no frames from ${operation.mac}`
      return [{ what: 'it is gone', happen: () => delete linkIn(netns, operation.link).allowedMacs, says }]
    }
    case 'set-bridge-port': {
      const set = (change: Partial<ObservedPort>) => () => void netns.setPort(linkIn(netns, operation.link), change)
      return [
        { what: 'no hairpin', happen: set({ isHairpin: false }), says: `${operation.link} does not send frames back` },
        { what: 'not isolated', happen: set({ isIsolated: false }), says: `${operation.link} is not isolated` },
        { what: 'not locked', happen: set({ isLocked: false }), says: `${operation.link} takes frames from any` },
      ]
    }
    case 'add-shaper': {
      const link = linkIn(netns, operation.link)
      const set = (shaper: FakeLink['shaper']) => () => void (link.shaper = shaper)
      const { bytesPerSecond, limitBytes } = operation
      return [
        { what: 'it is gone', happen: () => delete link.shaper, says: `${link.name} does not shape what leaves it` },
        {
          what: 'the rate is another',
          happen: set({ bytesPerSecond: 1, limitBytes }),
          says: `${link.name} shapes to 8 bits/s`,
        },
        {
          what: 'the burst is another',
          happen: set({ bytesPerSecond, limitBytes: 5 }),
          says: `${link.name} lets 5 bytes wait`,
        },
      ]
    }
    case 'add-ifb': {
      const link = linkIn(netns, operation.link)
      const says = `link ${operation.link} is missing`
      return [
        { what: 'it is deleted', happen: () => void netns.deleteLink(link), says },
        { what: 'the group is another', happen: () => (link.group = 0), says: `${operation.link} is in group 0` },
      ]
    }
    case 'redirect-ingress': {
      const link = linkIn(netns, operation.link)
      const says = `${operation.link} does not lead what arrives through ${operation.to}`
      return [
        { what: 'it is gone', happen: () => delete link.ingress, says },
        { what: 'it leads elsewhere', happen: () => (link.ingress = { to: link }), says },
      ]
    }
    case 'set-link': {
      const link = linkIn(netns, operation.link)
      const down = { what: 'it is down', happen: () => (link.isUp = false), says: `${operation.link} is down` }
      const alias = {
        what: 'the alias is another',
        happen: () => (link.alias = 'x'),
        says: `${operation.link} has the alias 'x'`,
      }
      const promiscuous = {
        what: 'it is not promiscuous',
        happen: () => delete link.isPromiscuous,
        says: `${operation.link} is not promiscuous`,
      }
      return [
        ...(operation.up ? [down] : []),
        ...(operation.alias === undefined ? [] : [alias]),
        ...(operation.promiscuous ? [promiscuous] : []),
      ]
    }
    case 'disable-link-local': {
      const link = linkIn(netns, operation.link)
      const says = `${operation.link} makes link-local addresses of its own`
      return [{ what: 'it is on again', happen: () => (link.hasNoLinkLocal = false), says }]
    }
    case 'set-sysctl':
      return [
        {
          what: 'it has another value',
          happen: () => void netns.sysctls.set(operation.key, operation.value === '0' ? '1' : '0'),
          says: `${operation.key} is ${operation.value === '0' ? '1' : '0'}`,
        },
      ]
    case 'add-address': {
      const link = linkIn(netns, operation.link)
      const text = formatPrefix(operation.address)
      const held = () => link.addresses.filter(each => formatPrefix(each.address) !== text)
      return [
        {
          what: 'it is gone',
          happen: () => (link.addresses = held()),
          says: `${operation.link} has no address ${text}`,
        },
        {
          what: 'it is tentative',
          happen: () => (link.addresses = [...held(), { address: operation.address, isTentative: true }]),
          says: `address ${text} is still tentative`,
        },
      ]
    }
    case 'set-neighbour': {
      const link = linkIn(netns, operation.link)
      const set = (mac = operation.mac, isPermanent = operation.isLearnable !== true) => {
        netns.deleteNeighbour(link, operation.address)
        link.neighbours = [...link.neighbours, { address: operation.address, mac, isPermanent }]
      }
      const another = { what: 'it is another', happen: () => set(OTHER_MAC), says: `is ${OTHER_MAC}` }
      // A pod that has lost its own asks, and the host answers.
      if (operation.at === 'pod') return [another]
      return [
        another,
        { what: 'it is gone', happen: () => void netns.deleteNeighbour(link, operation.address), says: 'is missing' },
        { what: 'it cannot follow', happen: () => set(operation.mac, true), says: 'is permanent' },
      ]
    }
    case 'add-route': {
      const change = (by: (route: FakeRoute) => readonly FakeRoute[]) => {
        const isIt = (route: FakeRoute) => equalPrefixes(route.to, operation.to) && route.link?.name === operation.link
        netns.routes = netns.routes.flatMap(route => (isIt(route) ? by(route) : [route]))
      }
      const other = operation.to.address.family === 4 ? '192.0.2.1' : 'fe80::99'
      const route = `route to ${formatPrefix(operation.to)} through ${operation.link}`
      const protocol = {
        what: 'it has another protocol',
        happen: () => change(it => [{ ...it, protocol: 4 }]),
        says: `${route} has protocol 4`,
      }
      return [
        { what: 'it is gone', happen: () => change(() => []), says: `${route} is missing` },
        {
          what: 'it goes elsewhere',
          happen: () => change(it => [{ ...it, via: parseAddress(other) }]),
          says: `${route} goes via ${other}`,
        },
        ...(operation.at === 'host' ? [protocol] : []),
      ]
    }
    case 'add-elements':
      return operation.elements.map(element => ({
        what: `${element.set.name} { ${renderElement(element)} } is gone`,
        happen: () => void node.host.deleteElements([element]),
        says: `nftables lacks ${element.set.name} { ${renderElement(element)} }`,
      }))
    case 'forget-flows':
    case 'delete-elements':
    case 'delete-link':
    case 'delete-address':
    case 'delete-neighbour':
    case 'delete-route':
    case 'add-unreachable':
    case 'delete-unreachable':
      return []
  }
}

t.test('check() finds nothing right after ADD, in every version that has it, without output (K5, K7)', async t => {
  for (const cniVersion of ['0.4.0', '1.0.0', '1.1.0']) {
    for (const families of [[4], [6], [4, 6]] as const) {
      const node = new FakeNode()
      node.ipam.families = families
      const added = await node.run('ADD', { config: { cniVersion } })
      const { exitCode, stdout } = await node.run('CHECK', { config: { cniVersion, prevResult: added.json } })
      t.same([exitCode, stdout], [0, ''], `${cniVersion} IPv${families.join('+')}`)
      t.equal(node.openHandles, 0)
    }
  }
})

const VIA_HOST = { ipsToRouteViaHost: ['169.254.20.10'] }
const EXPOSED = {
  ipMasq: true,
  runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] },
}
const LIMITED = { ingressRate: 10_000_000, egressRate: 20_000_000, egressBurst: 1_000_000 }
const LOCKED = { hairpinMode: true, macspoofchk: true, portIsolation: true }
const CONFIGS = [
  { name: 'transparent', config: { ...VIA_HOST, ...EXPOSED, ...LIMITED } },
  { name: 'on a bridge', config: { ...VIA_HOST, ...LOCKED, ...EXPOSED, mode: 'bridge', isDefaultGateway: true } },
  { name: 'on a promiscuous bridge', config: { mode: 'bridge', promiscMode: true, ...LIMITED } },
]
for (const { name, config, index, operation } of await eachOperation()) {
  t.test(`check() names what no longer is as ADD made it (K2, K3), ${name}: ${renderOperation(operation)}`, async t => {
    const mutations = mutationsOf(operation, (await attach(config)).node).map(({ what }) => what)
    // The alias of an unfinished ADD is replaced at the end; the state that was set with it is not.
    t.ok(mutations.length > 0, 'there is a mutation for it')
    for (const [which, what] of mutations.entries()) {
      const attached = await attach(config)
      const same = attached.operations[index]
      const mutation = same && mutationsOf(same, attached.node)[which]
      mutation?.happen()
      const { exitCode, json } = await checkOf(attached, config)
      t.match([exitCode, json], [1, { code: 106 }], what)
      const details = textOf(json, 'details')
      t.ok(mutation && details.includes(mutation.says), `${what}: ${details} has ${mutation?.says}`)
      t.ok(
        details.startsWith(textOf(json, 'msg').replace(/ \(and \d+ more\)$/, '')),
        'the message is the first problem',
      )
    }
  })
}

/** Every operation of an ADD with each configuration, numbered. */
async function eachOperation() {
  const all = []
  for (const { name, config } of CONFIGS) {
    const { operations } = await attach(config)
    all.push(...operations.map((operation, index) => ({ name, config, index, operation })))
  }
  return all
}

t.test('check() reports everything that is wrong, the first in the message and all in the details', async t => {
  const attached = await attach()
  const pod = podOf(attached.node)
  pod.routes = []
  linkIn(attached.node.host, HOST_IF_NAME).neighbours = []
  const { json } = await checkOf(attached)
  t.match(json, {
    code: 106,
    msg: /^pod: route to 169\.254\.1\.1\/32 through eth0 is missing \(want: ip route add .*\) \(and 4 more\)$/,
  })
  t.equal(textOf(json, 'details').split('\n').length, 5)
})

t.test('check() names what the node has lost: forwarding, and the rules against forged addresses', async t => {
  for (const key of ['net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding']) {
    const attached = await attach()
    attached.node.host.setSysctl(key, '0')
    t.match((await checkOf(attached)).json, { code: 106, msg: `host: ${key} is 0 (want: sysctl -w ${key}=1)` })
  }
  const attached = await attach()
  attached.node.host.chains.clear()
  t.match((await checkOf(attached)).json, { code: 106, msg: /nftables table inet tulle lacks the rules/ })
})

t.test('check() names the chains that a pod with ports needs, and takes an element of another for none', async t => {
  const attached = await attach(EXPOSED)
  attached.node.host.chains.set('hostports-in', [])
  t.match((await checkOf(attached, EXPOSED)).json, { code: 106, msg: /lacks chains hostports, hostports-in, / })
  const stolen = await attach(EXPOSED)
  for (const elements of stolen.node.host.sets.values()) {
    for (const [key, element] of elements)
      elements.set(key, { ...element, owner: { network: 'n', containerId: 'x', ifName: 'eth0' } })
  }
  t.match((await checkOf(stolen, EXPOSED)).json, { code: 106, msg: /nftables lacks hostports-4 \{ tcp \. 8080 : / })
})

t.test('check() names what ipamd does not know (K3)', async t => {
  const lost = await attach()
  lost.node.ipam.leases.clear()
  t.match((await checkOf(lost)).json, { code: 106, msg: 'ipamd has no lease for c1/eth0' })
  const other = await attach()
  const lease = other.node.ipam.leases.get('net1/c1/eth0')
  if (lease === undefined) throw new Error('no lease')
  other.node.ipam.leases.set('net1/c1/eth0', { ...lease, addresses: lease.addresses.slice(1) })
  t.match((await checkOf(other)).json, { code: 106, msg: 'ipamd does not have 10.244.1.2 leased to c1/eth0' })
})

t.test('check() says try again, not broken, while ipamd is down (K8)', async t => {
  const attached = await attach()
  attached.node.ipam.state = 'down'
  t.match((await checkOf(attached)).json, { code: 11 })
})

t.test('check() tolerates what a later plugin of the chain added (K4)', async t => {
  const attached = await attach()
  const pod = podOf(attached.node)
  const eth0 = linkIn(pod, ETH0)
  pod.addAddress(eth0, parseAddressWithLength('192.0.2.7/24'))
  pod.addRoute({ to: parsePrefix('198.51.100.0/24'), protocol: 4, link: eth0 })
  pod.setNeighbour(eth0, { address: parseAddress('192.0.2.1'), mac: OTHER_MAC })
  attached.node.host.addRoute({
    to: parsePrefix('192.0.2.7/32'),
    protocol: 4,
    link: linkIn(attached.node.host, HOST_IF_NAME),
  })
  t.same((await checkOf(attached)).stdout, '')
})

t.test('check() takes the MTU of the pod’s end from prevResult: a later plugin may have tuned it (K4)', async t => {
  const attached = await attach()
  linkIn(podOf(attached.node), ETH0).mtuBytes = 1400
  const { node, added } = attached
  const interfaces = (added.json?.['interfaces'] as readonly object[] | undefined)?.map((each, index) =>
    index === 1 ? { ...each, mtu: 1400 } : each,
  )
  t.equal((await node.run('CHECK', { config: { prevResult: { ...added.json, interfaces } } })).stdout, '')
})

const REFUSED = [
  { name: 'without prevResult (K1)', config: {}, code: 7, msg: /^prevResult missing/ },
  {
    name: 'with the result of another attachment',
    config: { prevResult: { interfaces: [] } },
    code: 7,
    msg: /^prevResult\.interfaces has no tul/,
  },
  {
    name: 'in a version without it',
    config: { cniVersion: '0.3.1' },
    code: 1,
    msg: /^config version does not allow CHECK$/,
  },
] as const
for (const { name, config, code, msg } of REFUSED) {
  t.test(`check() is refused ${name}`, async t => {
    const { node } = await attach()
    t.match((await node.run('CHECK', { config })).json, { code, msg })
  })
}

t.test('check() reports a namespace that is gone (K2)', async t => {
  const attached = await attach()
  attached.node.removePod(POD_PATH)
  t.match((await checkOf(attached)).json, { code: 8, msg: /\/run\/netns\/pod: ENOENT/ })
})

function podOf(node: FakeNode): FakeNetns {
  const pod = node.pods.get(POD_PATH)
  if (pod === undefined) throw new Error('no pod')
  return pod
}

function linkIn(netns: FakeNetns, name: string): FakeLink {
  const link = netns.links.find(link => link.name === name)
  if (link === undefined) throw new Error(`no link ${name}`)
  return link
}

/** A member of an error document that is a text. */
function textOf(json: FakeOutcome['json'], key: string): string {
  const value = json?.[key]
  return typeof value === 'string' ? value : ''
}
