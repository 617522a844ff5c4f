import t from 'tap'
import { formatAddress, parseAddress, type Family } from '../net/address.ts'
import { parseIfName, type IfName } from '../net/if-name.ts'
import { parseMac } from '../net/mac.ts'
import { formatPrefix, parseAddressWithLength, parsePrefix } from '../net/prefix.ts'
import { isErrno, KernelError, PlanError, type Kernel } from '../plan/kernel.ts'
import { LINK_GROUP } from '../plan/marks.ts'
import type { AddElements, AddVeth, Operation, Place, SetNeighbour } from '../plan/operation.ts'
import { elementsOf, rulesetsOf, type Exposure } from '../plan/exposure.ts'
import { CLUSTER_PREFIXES, HOST_PORTS_AT, masqueradeRuleset, OWNERS } from '../plan/exposure-ruleset.ts'
import { renderElement, type Element } from '../plan/nft-set.ts'
import type { AttachmentKey } from '../ipam/attachment.ts'
import { renderOperation } from '../plan/render.ts'
import { NODE_RULESET } from '../plan/ruleset.ts'
import { Deadline, DeadlineExceeded } from '../time/deadline.ts'

/** A fresh node and a fresh pod, in which nothing was done yet: lo is down and everything is as the kernel starts with. */
export interface ContractSubject {
  readonly kernel: Kernel
  /** The same node, without a pod. */
  readonly withoutPod: Kernel
  readonly somebodyElse: SomebodyElse
  dispose(): Promise<void>
}

/** What others do on the node. */
export interface SomebodyElse {
  /** Adds a veth pair that is not in our group, both ends on the host, both up, without IPv6 addresses. */
  addVethPair(name: string, peer: string): Promise<void>
  /** Adds an IPv6 default route through `name`, as the kernel does for a router advertisement. */
  learnDefaultRoute(name: string): Promise<void>
  /** Removes the last rule of our nftables table. */
  deleteLastRule(): Promise<void>
}

const TUL = parseIfName('tulcontract')
const ETH0 = parseIfName('eth0')
const ETH1 = parseIfName('eth1')
const LO = parseIfName('lo')
const HOST_MAC = parseMac('02:00:00:00:00:01')
const POD_MAC = parseMac('02:00:00:00:00:02')

const soon = (): Deadline => Deadline.in(10_000)
const veth = (changes: Partial<AddVeth> = {}): Operation => ({
  do: 'add-veth',
  hostIfName: TUL,
  hostMac: HOST_MAC,
  podIfName: ETH0,
  podMac: POD_MAC,
  hostMtuBytes: 1450,
  podMtuBytes: 1440,
  ...changes,
})
const up = (at: Place, link: IfName): Operation => ({ do: 'set-link', at, link, up: true })
const alias = (link: IfName, text: string): Operation => ({ do: 'set-link', at: 'host', link, alias: text })
const noLinkLocal = (at: Place, link: IfName): Operation => ({ do: 'disable-link-local', at, link })
const deleteLink = (at: Place, link: IfName): Operation => ({ do: 'delete-link', at, link })
const sysctl = (at: Place, key: string, value: string): Operation => ({ do: 'set-sysctl', at, key, value })
const unreachable = (verb: 'add' | 'delete', block: string): Operation => ({
  do: `${verb}-unreachable`,
  block: parsePrefix(block),
})
const address = (
  verb: 'add' | 'delete',
  text: string,
  [at, link]: readonly [Place, IfName] = ['pod', ETH0],
): Operation => ({
  do: `${verb}-address`,
  at,
  link,
  address: parseAddressWithLength(text),
})
const HOST_SCOPE: Operation = {
  do: 'add-address',
  at: 'pod',
  link: ETH0,
  address: parseAddressWithLength('10.0.0.7/32'),
  isHostScope: true,
}
const setNeighbour = (text: string, mac = HOST_MAC, more: Pick<SetNeighbour, 'isLearnable'> = {}): Operation => ({
  do: 'set-neighbour',
  at: 'pod',
  link: ETH0,
  address: parseAddress(text),
  mac,
  ...more,
})
const deleteNeighbour = (text: string): Operation => ({
  do: 'delete-neighbour',
  at: 'pod',
  link: ETH0,
  address: parseAddress(text),
})
const route = (
  verb: 'add' | 'delete',
  text: string,
  [at, link]: readonly [Place, IfName] = ['pod', ETH0],
): Operation => {
  const [to = '', via] = text.split(' via ')
  return {
    do: `${verb}-route`,
    at,
    link,
    to: parsePrefix(to),
    ...(via === undefined ? {} : { via: parseAddress(via) }),
  }
}
const ON_HOST = ['host', TUL] as const

/** A pair that is up at both ends and makes no addresses of its own. */
const QUIET_PAIR: readonly Operation[] = [
  veth(),
  noLinkLocal('host', TUL),
  noLinkLocal('pod', ETH0),
  up('host', TUL),
  up('pod', ETH0),
]

/** A refused operation: its errno, and the operation. */
type Refused = readonly [errno: string, operation: Operation]

interface Scenario {
  readonly name: string
  readonly run: readonly (Operation | Refused)[]
  /** What is there at the end, as `describe` renders it. */
  readonly want?: { readonly host?: readonly string[]; readonly pod?: readonly string[] }
}

const HOST_LINK = `link veth ${HOST_MAC} mtu 1450 group ${LINK_GROUP}`
const POD_LINK = `link veth ${POD_MAC} mtu 1440 group 0`
const QUIET_HOST = `${HOST_LINK} up nolinklocal`
const QUIET_POD = `${POD_LINK} up nolinklocal`

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'makes both ends of a pair at once, each in its place, down (R25), with the mark of ours on the host end (R22)',
    run: [veth()],
    want: { host: [HOST_LINK], pod: [POD_LINK] },
  },
  {
    name: 'refuses names that are taken, at either end, and leaves no half of a pair',
    run: [
      veth(),
      ['EEXIST', veth()],
      ['EEXIST', veth({ hostIfName: parseIfName('tulother') })],
      ['EEXIST', veth({ podIfName: ETH1 })],
      ['ENODEV', up('host', parseIfName('tulother'))],
      ['ENODEV', up('pod', ETH1)],
    ],
    want: { host: [HOST_LINK], pod: [POD_LINK] },
  },
  {
    name: 'refuses an MTU that a veth cannot have',
    run: [
      ['EINVAL', veth({ hostMtuBytes: 67 })],
      ['EINVAL', veth({ podMtuBytes: 65_536 })],
    ],
    want: { host: [], pod: [] },
  },
  {
    name: 'sets alias and state in one request, and replaces an alias',
    run: [
      veth(),
      { do: 'set-link', at: 'host', link: TUL, alias: 'first', up: true },
      alias(TUL, 'a longer second one'),
    ],
    want: { host: [`${HOST_LINK} up alias 'a longer second one'`] },
  },
  {
    name: 'keeps an alias of 255 bytes, the longest that an owner has, and refuses a longer one',
    run: [veth(), alias(TUL, 'x'.repeat(255)), ['ERANGE', alias(TUL, 'x'.repeat(256))]],
    want: { host: [`${HOST_LINK} alias '${'x'.repeat(255)}'`] },
  },
  {
    name: 'makes no link-local address where it was told not to, and one that is tentative elsewhere (R15)',
    run: [veth(), noLinkLocal('host', TUL), up('host', TUL), up('pod', ETH0)],
    want: { host: [QUIET_HOST], pod: [`${POD_LINK} up`, 'address own tentative', 'route fe80::/64 proto 2'] },
  },
  {
    name: 'adds addresses that can be used at once (R15)',
    run: [
      ...QUIET_PAIR,
      address('add', '10.0.0.7/32'),
      address('add', 'fd00::7/128'),
      address('add', 'fe80::1/64', ON_HOST),
    ],
    want: {
      host: [QUIET_HOST, 'address fe80::1/64', 'route fe80::/64 proto 2'],
      pod: [QUIET_POD, 'address 10.0.0.7/32', 'address fd00::7/128', 'route fd00::7/128 proto 2'],
    },
  },
  {
    name: 'refuses an address that is there, and to delete one that is not',
    run: [
      ...QUIET_PAIR,
      address('add', '10.0.0.7/32'),
      ['EEXIST', address('add', '10.0.0.7/32')],
      address('add', 'fd00::7/128'),
      ['EEXIST', address('add', 'fd00::7/128')],
      ['EEXIST', address('add', 'fd00::7/64')],
      ['EADDRNOTAVAIL', address('delete', '10.0.0.8/32')],
      ['EADDRNOTAVAIL', address('delete', 'fd00::8/128')],
      address('delete', '10.0.0.7/32'),
      address('delete', 'fd00::7/128'),
      ['EADDRNOTAVAIL', address('delete', '10.0.0.7/32')],
    ],
    want: { pod: [QUIET_POD] },
  },
  {
    name: 'sets and replaces permanent neighbours, also on a link that is down (R26)',
    run: [
      veth(),
      setNeighbour('169.254.1.1'),
      setNeighbour('169.254.1.1', POD_MAC),
      setNeighbour('fe80::1'),
      setNeighbour('169.254.1.9'),
      deleteNeighbour('169.254.1.9'),
      ['ENOENT', deleteNeighbour('169.254.1.9')],
      ['ENOENT', deleteNeighbour('fe80::9')],
    ],
    want: { pod: [POD_LINK, `neighbour 169.254.1.1 ${POD_MAC}`, `neighbour fe80::1 ${HOST_MAC}`] },
  },
  {
    name: 'sets neighbours that may change, in place of permanent ones too, and an address for the host alone',
    run: [
      ...QUIET_PAIR,
      setNeighbour('169.254.1.1'),
      setNeighbour('169.254.1.1', POD_MAC, { isLearnable: true }),
      setNeighbour('fe80::1', POD_MAC, { isLearnable: true }),
      HOST_SCOPE,
      ['EEXIST', HOST_SCOPE],
      sysctl('pod', 'net/ipv4/neigh/eth0/base_reachable_time_ms', '1209600000'),
      sysctl('pod', 'net/ipv6/neigh/eth0/base_reachable_time_ms', '1209600000'),
    ],
    want: {
      pod: [
        QUIET_POD,
        'address 10.0.0.7/32',
        `neighbour 169.254.1.1 ${POD_MAC} learnable`,
        `neighbour fe80::1 ${POD_MAC} learnable`,
      ],
    },
  },
  {
    name: 'routes by a gateway that is outside every prefix once it has a route of its own; a link-local one needs none',
    run: [
      ...QUIET_PAIR,
      address('add', '10.0.0.7/32'),
      address('add', 'fd00::7/128'),
      ['ENETUNREACH', route('add', '0.0.0.0/0 via 169.254.1.1')],
      route('add', '169.254.1.1/32'),
      route('add', '0.0.0.0/0 via 169.254.1.1'),
      ['EHOSTUNREACH', route('add', '::/0 via fd99::1')],
      route('add', '::/0 via fe80::1'),
    ],
    want: {
      pod: [
        QUIET_POD,
        'address 10.0.0.7/32',
        'address fd00::7/128',
        'route 0.0.0.0/0 via 169.254.1.1 proto 3',
        'route 169.254.1.1/32 proto 3',
        'route ::/0 via fe80::1 proto 3',
        'route fd00::7/128 proto 2',
      ],
    },
  },
  {
    name: 'refuses a route that is there, also by another next hop or link, and to delete one that is not',
    run: [
      ...QUIET_PAIR,
      ['ESRCH', route('delete', '10.9.0.1/32', ON_HOST)],
      ['ESRCH', route('delete', 'fd09::1/128', ON_HOST)],
      route('add', '10.9.0.1/32', ON_HOST),
      ['EEXIST', route('add', '10.9.0.1/32', ON_HOST)],
      route('add', 'fd09::1/128', ON_HOST),
      ['EEXIST', route('add', 'fd09::1/128', ON_HOST)],
      ['EEXIST', route('add', 'fd09::1/128 via fe80::2', ON_HOST)],
      ['ESRCH', route('delete', '10.9.0.1/32 via 10.9.0.2', ON_HOST)],
    ],
    want: { host: [QUIET_HOST, 'route 10.9.0.1/32 proto 117', 'route fd09::1/128 proto 117'] },
  },
  {
    name: 'deletes the routes that it added',
    run: [
      ...QUIET_PAIR,
      route('add', '10.9.0.1/32', ON_HOST),
      route('add', 'fd09::1/128', ON_HOST),
      route('delete', '10.9.0.1/32', ON_HOST),
      route('delete', 'fd09::1/128', ON_HOST),
    ],
    want: { host: [QUIET_HOST] },
  },
  {
    name: 'refuses a route through a link that is down',
    run: [veth(), ['ENETDOWN', route('add', '169.254.1.1/32')], ['ENETDOWN', route('add', 'fd01::/64')]],
    want: { pod: [POD_LINK] },
  },
  {
    name: 'adds an unreachable route once, and deletes it once (R29)',
    run: [
      unreachable('add', '10.0.0.0/24'),
      ['EEXIST', unreachable('add', '10.0.0.0/24')],
      unreachable('add', 'fd00::/64'),
      unreachable('delete', '10.0.0.0/24'),
      ['ESRCH', unreachable('delete', '10.0.0.0/24')],
      unreachable('delete', 'fd00::/64'),
      ['ESRCH', unreachable('delete', 'fd00::/64')],
    ],
  },
  {
    name: 'says of everything on a link that is not there that there is none',
    run: [
      ['ENODEV', deleteLink('host', TUL)],
      ['ENODEV', up('pod', ETH0)],
      ['ENODEV', noLinkLocal('pod', ETH0)],
      ['ENODEV', address('add', '10.0.0.7/32')],
      ['ENODEV', address('delete', '10.0.0.7/32')],
      ['ENODEV', setNeighbour('10.0.0.7')],
      ['ENODEV', deleteNeighbour('10.0.0.7')],
      ['ENODEV', route('add', '10.0.0.7/32')],
      ['ENODEV', route('delete', '10.0.0.7/32')],
      ['ENOENT', sysctl('host', `net/ipv4/conf/${TUL}/rp_filter`, '1')],
    ],
    want: { host: [], pod: [] },
  },
  {
    name: 'takes everything away with the host end of a pair, and the pod end too (D4)',
    run: [
      ...QUIET_PAIR,
      address('add', '10.0.0.7/32'),
      route('add', '169.254.1.1/32'),
      route('add', '10.0.0.7/32', ON_HOST),
      route('add', 'fd00::7/128', ON_HOST),
      deleteLink('host', TUL),
      ['ENODEV', deleteLink('host', TUL)],
      ['ENODEV', deleteLink('pod', ETH0)],
      // The same names and routes once more: nothing of the first is in the way.
      ...QUIET_PAIR,
      route('add', '10.0.0.7/32', ON_HOST),
      route('add', 'fd00::7/128', ON_HOST),
    ],
    want: { host: [QUIET_HOST, 'route 10.0.0.7/32 proto 117', 'route fd00::7/128 proto 117'], pod: [QUIET_POD] },
  },
  {
    name: 'takes the host end away with the pod end, and knows a new pair of that name for another one',
    run: [veth(), up('host', TUL), deleteLink('pod', ETH0), ['ENODEV', up('host', TUL)], ...QUIET_PAIR],
    want: { host: [QUIET_HOST], pod: [QUIET_POD] },
  },
  {
    name: 'never deletes lo',
    run: [['EOPNOTSUPP', deleteLink('pod', LO)]],
  },
  {
    name: 'gives a link too small for IPv6 none of it, and all of IPv4 (RFC 8200, section 5)',
    run: [
      veth({ hostMtuBytes: 1279, podMtuBytes: 1279 }),
      ['EAFNOSUPPORT', noLinkLocal('host', TUL)],
      ['ENOENT', sysctl('host', `net/ipv6/conf/${TUL}/accept_ra`, '0')],
      sysctl('host', `net/ipv4/conf/${TUL}/rp_filter`, '1'),
      ['EINVAL', address('add', 'fd00::7/128')],
      address('add', '10.0.0.7/32'),
    ],
  },
  {
    name: 'refuses IPv6 on a link where it is switched off, and takes it when it is switched on',
    run: [
      sysctl('pod', 'net/ipv6/conf/default/disable_ipv6', '1'),
      veth(),
      up('host', TUL),
      noLinkLocal('pod', ETH0),
      up('pod', ETH0),
      ['EACCES', address('add', 'fd00::7/128')],
      ['EACCES', route('add', '::/0 via fe80::1')],
      ['EINVAL', setNeighbour('fe80::1')],
      sysctl('pod', `net/ipv6/conf/${ETH0}/disable_ipv6`, '0'),
      address('add', 'fd00::7/128'),
      route('add', '::/0 via fe80::1'),
    ],
    want: {
      pod: [QUIET_POD, 'address fd00::7/128', 'route ::/0 via fe80::1 proto 3', 'route fd00::7/128 proto 2'],
    },
  },
]

/**
 * What every Kernel has to do: one table, run against the real kernel and against the fake one. While both pass, a test
 * with the fake says something about the real one.
 */
export function kernelContract(name: string, open: () => Promise<ContractSubject>): void {
  const test = (what: string, body: (t: Assertions, subject: ContractSubject) => Promise<void>): void => {
    t.test(`${name} kernel ${what}`, async t => {
      const subject = await open()
      t.teardown(() => subject.dispose())
      await body(t, subject)
    })
  }
  for (const { name: what, run, want } of SCENARIOS) {
    test(what, async (t, { kernel }) => {
      for (const step of run) {
        const [wanted, operation] = 'do' in step ? ['done', step] : step
        t.equal(await outcomeOf(kernel.apply(operation, soon())), wanted, renderOperation(operation))
      }
      if (want?.host) t.strictSame(await describe(kernel, 'host', TUL), [...want.host])
      if (want?.pod) t.strictSame(await describe(kernel, 'pod', ETH0), [...want.pod])
    })
  }

  test('tells which ends belong together: each names the index of the other', async (t, { kernel }) => {
    await kernel.apply(veth(), soon())
    const host = await kernel.observeLink('host', TUL, soon())
    const pod = await kernel.observeLink('pod', ETH0, soon())
    t.same([host?.peerIndex, pod?.peerIndex], [pod?.index, host?.index])
  })

  test('finds no link that is not there', async (t, { kernel }) => {
    t.equal(await kernel.observeLink('host', TUL, soon()), undefined)
    t.equal(await kernel.observeInterface('pod', ETH0, soon()), undefined)
  })

  test('reads and writes settings, of the node and of one link, in each place by itself', async (t, { kernel }) => {
    await kernel.apply(veth(), soon())
    const key = `net/ipv6/conf/${TUL}/accept_ra`
    t.equal(kernel.readSysctl('host', key), '1')
    await kernel.apply(sysctl('host', key, '0'), soon())
    t.equal(kernel.readSysctl('host', key), '0')
    await kernel.apply(sysctl('pod', 'net/ipv6/conf/all/forwarding', '1'), soon())
    t.equal(kernel.readSysctl('pod', 'net/ipv6/conf/all/forwarding'), '1')
    t.equal(kernel.readSysctl('host', 'net/ipv6/conf/all/forwarding'), '0')
    t.equal(kernel.readSysctl('host', 'net/ipv4/conf/eth0/rp_filter'), undefined, 'a link of the other place')
    t.equal(kernel.readSysctl('host', 'net/ipv4/no_such_setting'), undefined)
    t.equal(await outcomeOf(kernel.apply(sysctl('host', 'net/ipv4/no_such_setting', '1'), soon())), 'ENOENT')
    t.equal(await outcomeOf(kernel.apply(sysctl('host', key, 'no number'), soon())), 'EINVAL')
  })

  test('finds the links of our group, and nobody else’s (invariant 4)', async (t, { kernel, somebodyElse }) => {
    t.same(await kernel.observeOwnLinks(soon()), [])
    await somebodyElse.addVethPair('foreign0', 'foreign1')
    await kernel.apply(veth(), soon())
    await kernel.apply(alias(TUL, 'mine'), soon())
    const own = await kernel.observeOwnLinks(soon())
    t.same(
      own.map(link => [link.name, link.alias]),
      [[TUL, 'mine']],
    )
  })

  test('applyAll() applies a plan in its order', async (t, { kernel }) => {
    const plan = [...QUIET_PAIR, setNeighbour('10.0.0.1'), route('add', '10.0.0.7/32', ON_HOST), alias(TUL, 'whole')]
    await kernel.applyAll(plan, soon())
    const host = await kernel.observeInterface('host', TUL, soon())
    t.equal(host?.link.alias, 'whole')
    t.same(
      host?.routes.map(({ to }) => formatPrefix(to)).filter(to => to === '10.0.0.7/32'),
      ['10.0.0.7/32'],
    )
    t.equal((await kernel.observeInterface('pod', ETH0, soon()))?.neighbours.length, 1)
    await kernel.applyAll([], soon())
  })

  test('applyAll() says what failed, and what there is to undo', async (t, { kernel }) => {
    const again = address('add', '10.0.0.7/32')
    const later = setNeighbour('10.0.0.1')
    const plan = [...QUIET_PAIR, address('add', '10.0.0.7/32'), again, later, deleteLink('host', TUL)]
    const failure: unknown = await kernel.applyAll(plan, soon()).catch((thrown: unknown) => thrown)
    if (!(failure instanceof PlanError)) throw failure
    t.equal(failure.operation, again)
    t.equal(isErrno(failure.cause, 'EEXIST'), true, failure.message)
    const certain = plan.slice(0, plan.indexOf(again))
    t.same(
      certain.filter(operation => !failure.mayExist.includes(operation)),
      [],
      'all before it was done',
    )
    const isThere = (await kernel.observeInterface('pod', ETH0, soon()))?.neighbours.length === 1
    t.equal(failure.mayExist.includes(later), isThere, 'what was sent with it is there, and is to be undone')
    t.equal(failure.mayExist.includes(again), false, 'what was refused is not ours')
    t.equal((await kernel.observeLink('host', TUL, soon()))?.name, TUL, 'nothing after it was begun')
  })

  test('applyAll() names the setting that was refused', async (t, { kernel }) => {
    const wrong = sysctl('pod', 'net/ipv4/no_such_setting', '1')
    const plan = [sysctl('pod', 'net/ipv4/ip_forward', '1'), wrong, sysctl('pod', 'net/ipv4/ip_forward', '0')]
    const failure: unknown = await kernel.applyAll(plan, soon()).catch((thrown: unknown) => thrown)
    if (!(failure instanceof PlanError)) throw failure
    t.equal(failure.operation, wrong)
    t.same(failure.mayExist, plan.slice(0, 1))
    t.equal(kernel.readSysctl('pod', 'net/ipv4/ip_forward'), '1', 'the third was not written')
  })

  test('finds the routes of our protocol, and nobody else’s (invariant 4)', async (t, { kernel, somebodyElse }) => {
    t.same(await kernel.observeOwnRoutes(soon()), [])
    await somebodyElse.addVethPair('foreign0', 'foreign1')
    await somebodyElse.learnDefaultRoute('foreign0')
    for (const operation of QUIET_PAIR) await kernel.apply(operation, soon())
    for (const to of ['10.0.0.7/32', 'fd00::7/128']) await kernel.apply(route('add', to, ON_HOST), soon())
    for (const block of ['10.0.0.0/24', 'fd00::/64']) await kernel.apply(unreachable('add', block), soon())
    const linkIndex = (await kernel.observeLink('host', TUL, soon()))?.index
    t.strictSame(
      new Map((await kernel.observeOwnRoutes(soon())).map(own => [formatPrefix(own.to), own.linkIndex])),
      new Map([
        ['10.0.0.7/32', linkIndex],
        ['fd00::7/128', linkIndex],
        ['10.0.0.0/24', undefined],
        ['fd00::/64', undefined],
      ]),
    )
  })

  test('finds the link that packets to an address leave by (R27)', async (t, { kernel, somebodyElse }) => {
    const towards = async (text: string) => (await kernel.observeLinkTowards(parseAddress(text), soon()))?.name
    t.equal(await towards('203.0.113.1'), undefined, 'no route')
    t.equal(await towards('2001:db8::1'), undefined, 'no route')
    await somebodyElse.addVethPair('foreign0', 'foreign1')
    await somebodyElse.learnDefaultRoute('foreign0')
    t.equal(await towards('2001:db8::1'), 'foreign0', 'the default route')
    for (const operation of QUIET_PAIR) await kernel.apply(operation, soon())
    await kernel.apply(route('add', 'fd00::7/128', ON_HOST), soon())
    await kernel.apply(route('add', '10.0.0.7/32', ON_HOST), soon())
    await kernel.apply(unreachable('add', '10.0.0.0/24'), soon())
    t.equal(await towards('fd00::7'), TUL, 'the longest prefix')
    t.equal(await towards('10.0.0.7'), TUL, 'the longest prefix')
    t.equal(await towards('10.0.0.8'), undefined, 'unreachable')
    await kernel.apply(unreachable('add', '10.0.0.7/32'), soon())
    await kernel.apply(unreachable('add', 'fd00::7/128'), soon())
    t.equal(await towards('10.0.0.7'), TUL, 'any other route to the same prefix wins')
    t.equal(await towards('fd00::7'), TUL, 'any other route to the same prefix wins')
  })

  test('finds the links that live by router advertisements', async (t, { kernel, somebodyElse }) => {
    await somebodyElse.addVethPair('foreign0', 'foreign1')
    t.same(await kernel.observeRouterAdvertisementLinks(soon()), [])
    await somebodyElse.learnDefaultRoute('foreign0')
    t.same(
      (await kernel.observeRouterAdvertisementLinks(soon())).map(link => link.name),
      ['foreign0'],
    )
  })

  test('writes the rules of the node, again and again with one outcome, and sees when one is gone', async (t, subject) => {
    const { kernel, somebodyElse } = subject
    t.equal(await kernel.hasRuleset(NODE_RULESET, soon()), false, 'no table')
    await kernel.replaceRuleset(NODE_RULESET, soon())
    t.equal(await kernel.hasRuleset(NODE_RULESET, soon()), true)
    await kernel.replaceRuleset(NODE_RULESET, soon())
    t.equal(await kernel.hasRuleset(NODE_RULESET, soon()), true, 'not twice the rules')
    await somebodyElse.deleteLastRule()
    t.equal(await kernel.hasRuleset(NODE_RULESET, soon()), false)
    await kernel.replaceRuleset(NODE_RULESET, soon())
    t.equal(await kernel.hasRuleset(NODE_RULESET, soon()), true)
  })

  test('adds elements of an attachment, all or none, and finds them by their owner', async (t, { kernel }) => {
    const [one, two] = [exposureOf('one', '10.0.0.7'), exposureOf('two', '10.0.0.8')]
    const shown = async (of: AttachmentKey | 'all') => (await kernel.observeElements(of, soon())).map(shownElement)
    t.same(await shown('all'), [], 'no table')
    t.equal(await outcomeOf(kernel.apply(adding(one), soon())), 'ENOENT', 'no sets')
    for (const ruleset of rulesetsOf(one)) {
      t.equal(await kernel.hasRuleset(ruleset, soon()), false)
      await kernel.replaceRuleset(ruleset, soon())
      t.equal(await kernel.hasRuleset(ruleset, soon()), true)
    }
    await kernel.apply(adding(one), soon())
    t.strictSame((await shown(one.attachment)).toSorted(), elementsOf(one).map(shownElement).toSorted())
    t.same(await shown(two.attachment), [])
    t.equal(await outcomeOf(kernel.apply(adding(two), soon())), 'EEXIST', 'both want port 8080')
    t.same(await shown(two.attachment), [], 'and nothing of it is there')
    const other = { ...two, ports: two.ports.map(port => ({ ...port, hostPort: port.hostPort + 1 })) }
    await kernel.apply(adding(other), soon())
    for (const ruleset of rulesetsOf(one)) await kernel.replaceRuleset(ruleset, soon())
    t.equal((await shown('all')).length, elementsOf(one).length + elementsOf(other).length, 'new rules lose no element')
    const owners = (await kernel.observeSets([HOST_PORTS_AT[4]], soon())).map(({ owner }) => owner?.containerId)
    t.same(new Set(owners), new Set(['one', 'two']))
    const generation = await kernel.observeNftGeneration(soon())
    t.equal(await kernel.observeNftGeneration(soon()), generation, 'looking changes nothing')
    await kernel.apply({ ...adding(one), do: 'delete-elements' }, soon())
    t.equal((await kernel.observeNftGeneration(soon())) === generation, false, 'a change shows in the generation')
    t.equal(await outcomeOf(kernel.apply({ ...adding(one), do: 'delete-elements' }, soon())), 'ENOENT')
    t.same(await shown(one.attachment), [])
    t.strictSame((await shown('all')).toSorted(), elementsOf(other).map(shownElement).toSorted())
  })

  test('makes a set of prefixes hold what it is told, and says whether it had to', async (t, { kernel }) => {
    const ensure = (...texts: readonly string[]) =>
      kernel.ensureSetContent(CLUSTER_PREFIXES[4], texts.map(parsePrefix), soon())
    t.equal(await outcomeOf(ensure('10.244.0.0/16')), 'ENOENT', 'no set')
    await kernel.replaceRuleset(masqueradeRuleset([]), soon())
    t.equal(await ensure(), false)
    t.equal(await ensure('10.244.0.0/16', '192.168.7.0/24', '240.0.0.0/4'), true)
    t.equal(await ensure('192.168.7.0/24', '240.0.0.0/4', '10.244.0.0/16'), false, 'in any order')
    t.equal(await ensure('10.244.0.0/16', '10.245.0.0/16'), true, 'one beside the other')
    t.equal(await ensure(), true)
    t.equal(await kernel.ensureSetContent(CLUSTER_PREFIXES[6], [parsePrefix('fd00::/8')], soon()), true)
    t.equal(await kernel.ensureSetContent(CLUSTER_PREFIXES[6], [parsePrefix('fd00::/8')], soon()), false)
  })

  test('makes a set hold the prefixes of a cluster of 5,000 nodes', async (t, { kernel }) => {
    await kernel.replaceRuleset(masqueradeRuleset([]), soon())
    const prefixesOf = (node: number, family: Family) =>
      family === 4
        ? [`10.${node >> 8}.${node & 255}.0/24`, `172.${16 + (node >> 8)}.${node & 255}.2/32`]
        : [`fd00:1:${node.toString(16)}::/64`, `fd00:2::${node.toString(16)}:1/128`]
    for (const family of [4, 6] as const) {
      const cluster = Array.from({ length: 5_000 }, (_, node) => prefixesOf(node, family).map(parsePrefix)).flat()
      const ensure = (prefixes: typeof cluster) =>
        kernel.ensureSetContent(CLUSTER_PREFIXES[family], prefixes, Deadline.in(20_000))
      t.equal(await ensure(cluster), true)
      t.equal(await ensure(cluster), false)
      t.equal(await ensure(cluster.slice(2)), true, 'a node has gone')
    }
  })

  test('makes sets alone, whose prefixes stay when rules come that read them', async (t, { kernel }) => {
    const sets = [CLUSTER_PREFIXES[4], CLUSTER_PREFIXES[6]]
    await kernel.replaceRuleset({ sets, chains: [] }, soon())
    const ensure = () => kernel.ensureSetContent(CLUSTER_PREFIXES[4], [parsePrefix('10.244.0.0/16')], soon())
    t.equal(await ensure(), true)
    await kernel.replaceRuleset(masqueradeRuleset([]), soon())
    t.equal(await ensure(), false)
  })

  test('forgets flows of which there are none', async (t, { kernel }) => {
    const ports = [{ hostPort: 53, podAddress: parseAddress('10.0.0.7'), podPort: 53 }]
    t.equal(await outcomeOf(kernel.apply({ do: 'forget-flows', ports }, soon())), 'done')
  })

  test('fails with ENOENT at the pod where there is none', async (t, { kernel, withoutPod }) => {
    t.same([kernel.hasPod, kernel.podIsHost, withoutPod.hasPod, withoutPod.podIsHost], [true, false, false, false])
    t.equal(await outcomeOf(withoutPod.apply(veth(), soon())), 'ENOENT')
    t.equal(await outcomeOf(withoutPod.apply(up('pod', LO), soon())), 'ENOENT')
    t.equal(await outcomeOf(withoutPod.apply(sysctl('pod', 'net/ipv4/ip_forward', '1'), soon())), 'ENOENT')
    t.equal(await outcomeOf(withoutPod.observeLink('pod', LO, soon())), 'ENOENT')
    t.equal(await outcomeOf(withoutPod.observeInterface('pod', LO, soon())), 'ENOENT')
    t.throws(() => withoutPod.readSysctl('pod', 'net/ipv4/ip_forward'), { name: 'KernelError', errno: 'ENOENT' })
    t.equal((await withoutPod.observeLink('host', LO, soon()))?.name, 'lo')
  })

  test('begins nothing after the deadline (invariant 6)', async (t, { kernel }) => {
    const past = Deadline.in(0)
    const address = parseAddress('203.0.113.1')
    const attempts: readonly (readonly [string, Promise<unknown>])[] = [
      ['apply(add-veth)', kernel.apply(veth(), past)],
      ['apply(set-link)', kernel.apply(up('host', LO), past)],
      ['apply(set-sysctl)', kernel.apply(sysctl('host', 'net/ipv4/ip_forward', '1'), past)],
      ['observeLink', kernel.observeLink('host', LO, past)],
      ['observeInterface', kernel.observeInterface('host', LO, past)],
      ['observeOwnLinks', kernel.observeOwnLinks(past)],
      ['observeLinkTowards', kernel.observeLinkTowards(address, past)],
      ['observeRouterAdvertisementLinks', kernel.observeRouterAdvertisementLinks(past)],
      ['hasRuleset', kernel.hasRuleset(NODE_RULESET, past)],
      ['replaceRuleset', kernel.replaceRuleset(NODE_RULESET, past)],
      ['observeElements', kernel.observeElements('all', past)],
      ['observeNftGeneration', kernel.observeNftGeneration(past)],
      ['observeSets', kernel.observeSets([OWNERS], past)],
      ['ensureSetContent', kernel.ensureSetContent(CLUSTER_PREFIXES[4], [], past)],
      ['apply(add-elements)', kernel.apply(adding(exposureOf('one', '10.0.0.7')), past)],
      ['apply(forget-flows)', kernel.apply({ do: 'forget-flows', ports: [] }, past)],
    ]
    for (const [what, attempt] of attempts) await t.rejects(attempt, DeadlineExceeded, what)
    t.equal((await kernel.observeLink('host', LO, soon()))?.isUp, false)
    t.equal(await kernel.observeLink('host', TUL, soon()), undefined)
    t.equal(await kernel.hasRuleset(NODE_RULESET, soon()), false)
  })
}

/** A pod with everything that has elements, on a network of its own. */
function exposureOf(containerId: string, ipv4: string): Exposure {
  return {
    attachment: { network: 'net1', containerId, ifName: 'eth0' },
    addresses: [ipv4, `fd00::${ipv4.split('.')[3]}`].map(parseAddress),
    ports: [
      { protocol: 'tcp', hostPort: 8080, containerPort: 80 },
      { protocol: 'udp', hostPort: 53, containerPort: 5353, hostAddress: parseAddress('192.0.2.1') },
      { protocol: 'sctp', hostPort: 9, containerPort: 9, hostAddress: parseAddress('::') },
    ],
    isHairpinMasqueraded: true,
    masquerade: { except: ['10.0.0.0/8', '172.16.0.0/12', 'fd00::/8'].map(parsePrefix) },
  }
}

function adding(exposure: Exposure): AddElements {
  return { do: 'add-elements', owner: exposure.attachment, elements: elementsOf(exposure) }
}

function shownElement(element: Element): string {
  return `${element.set.name} ${renderElement(element)}`
}

/** What a scenario needs of tap. */
type Assertions = Pick<typeof t, 'equal' | 'same' | 'strictSame' | 'rejects' | 'throws'>

/** How an attempt ended: 'done', or the kernel's errno. @throws what is no answer of the kernel. */
export async function outcomeOf(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt
    return 'done'
  } catch (failure) {
    if (failure instanceof KernelError) return failure.errno
    throw failure
  }
}

/**
 * An interface as lines: the link, its addresses, routes and known neighbours, each sorted. Empty when it is not there.
 * The address that a link gives itself depends on its MAC: it reads `own`.
 */
async function describe(kernel: Kernel, at: Place, name: IfName): Promise<readonly string[]> {
  const observed = await kernel.observeInterface(at, name, soon())
  if (observed === undefined) return []
  const { link } = observed
  const flags = [
    link.isUp ? ' up' : '',
    link.hasNoLinkLocal ? ' nolinklocal' : '',
    link.alias === undefined ? '' : ` alias '${link.alias}'`,
  ]
  const addresses = observed.addresses.map(held => {
    const text = formatPrefix(held.address)
    return `address ${text.startsWith('fe80::ff:fe00:') ? 'own' : text}${held.isTentative ? ' tentative' : ''}`
  })
  const routes = observed.routes.map(({ to, via, protocol }) => {
    return `route ${formatPrefix(to)}${via === undefined ? '' : ` via ${formatAddress(via)}`} proto ${protocol}`
  })
  const neighbours = observed.neighbours
    // The kernel has entries of its own for multicast.
    .filter(({ address }) => !/^(?:ff|224\.)/.test(formatAddress(address)))
    .map(
      ({ address, mac, isPermanent }) =>
        `neighbour ${formatAddress(address)} ${mac ?? 'unresolved'}${isPermanent ? '' : ' learnable'}`,
    )
  const first = `link ${link.kind ?? 'physical'} ${link.mac ?? 'none'} mtu ${link.mtuBytes} group ${link.group}${flags.join('')}`
  return [first, ...addresses.toSorted(), ...routes.toSorted(byFamily), ...neighbours.toSorted()]
}

/** IPv4 first, then by text. */
function byFamily(a: string, b: string): number {
  return Number(a.includes(':')) - Number(b.includes(':')) || a.localeCompare(b, 'en')
}
