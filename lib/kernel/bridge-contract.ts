import t from 'tap'
import { parseIfName } from '../net/if-name.ts'
import { parseMac } from '../net/mac.ts'
import { formatPrefix, parseAddressWithLength } from '../net/prefix.ts'
import type { Kernel } from '../plan/kernel.ts'
import { LINK_GROUP } from '../plan/marks.ts'
import type { Operation, SetBridgePort } from '../plan/operation.ts'
import { renderOperation } from '../plan/render.ts'
import { Deadline } from '../time/deadline.ts'
import { outcomeOf, type ContractSubject } from './kernel-contract.ts'

const BRIDGE = parseIfName('contract0')
const TUL = parseIfName('tulcontract')
const ETH0 = parseIfName('eth0')
const BRIDGE_MAC = parseMac('02:00:00:00:00:0b')
const HOST_MAC = parseMac('02:00:00:00:00:01')
const POD_MAC = parseMac('02:00:00:00:00:02')
const OTHER_MAC = parseMac('02:00:00:00:00:03')

const soon = (): Deadline => Deadline.in(10_000)
const bridge = (mtuBytes = 1450): Operation => ({
  do: 'add-bridge',
  at: 'host',
  link: BRIDGE,
  mac: BRIDGE_MAC,
  mtuBytes,
})
const veth: Operation = {
  do: 'add-veth',
  hostIfName: TUL,
  hostMac: HOST_MAC,
  podIfName: ETH0,
  podMac: POD_MAC,
  hostMtuBytes: 1400,
  podMtuBytes: 1400,
}
const join: Operation = { do: 'add-bridge-port', at: 'host', link: TUL, bridge: BRIDGE }
const allow = (mac = POD_MAC): Operation => ({ do: 'add-forwarding', at: 'host', link: TUL, mac })
const port = (flags: Pick<SetBridgePort, 'hairpin' | 'isolated' | 'locked'>): Operation => ({
  do: 'set-bridge-port',
  at: 'host',
  link: TUL,
  ...flags,
})
const gateway = (verb: 'add' | 'delete', text: string): Operation => ({
  do: `${verb}-address`,
  at: 'host',
  link: BRIDGE,
  address: parseAddressWithLength(text),
})
const quiet: Operation = { do: 'disable-link-local', at: 'host', link: BRIDGE }
const up: Operation = { do: 'set-link', at: 'host', link: BRIDGE, up: true, promiscuous: true, alias: 'ours' }

/** A refused operation: its errno, and the operation. */
type Refused = readonly [errno: string, operation: Operation]

interface Scenario {
  readonly name: string
  readonly run: readonly (Operation | Refused)[]
  /** What is there at the end, as `describe` renders it: the bridge, then its port. */
  readonly want: readonly string[]
}

const AS_MADE = `bridge ${BRIDGE_MAC} group ${LINK_GROUP}`

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'makes a bridge, down, with the mark of ours and its own hardware address (R23)',
    run: [bridge(), ['EEXIST', bridge()]],
    want: [`${AS_MADE} mtu 1450`],
  },
  {
    name: 'sets state, alias and promiscuous mode of a bridge in one request, and gives it addresses that can be used',
    run: [bridge(), quiet, up, gateway('add', '10.0.0.1/24'), gateway('add', 'fd00::1/64')],
    want: [`${AS_MADE} mtu 1450 up promiscuous 'ours' 10.0.0.1/24 fd00::1/64`],
  },
  {
    name: 'refuses an address that a bridge has, and takes one away',
    run: [
      bridge(),
      gateway('add', '10.0.0.1/24'),
      ['EEXIST', gateway('add', '10.0.0.1/24')],
      gateway('delete', '10.0.0.1/24'),
      ['EADDRNOTAVAIL', gateway('delete', '10.0.0.1/24')],
    ],
    want: [`${AS_MADE} mtu 1450`],
  },
  {
    name: 'makes a link a port, twice with one outcome; the bridge keeps its address and has the smallest MTU of its ports',
    run: [bridge(), veth, join, join],
    want: [`${AS_MADE} mtu 1400`, 'port'],
  },
  {
    name: 'refuses a port of what is no bridge, and of one that is not there',
    run: [
      veth,
      ['ENODEV', join],
      ['EOPNOTSUPP', { do: 'add-bridge-port', at: 'host', link: TUL, bridge: parseIfName('lo') }],
    ],
    want: [],
  },
  {
    name: 'refuses to treat a link as a port that is none',
    run: [bridge(), veth, ['EOPNOTSUPP', port({ hairpin: true })], ['EOPNOTSUPP', allow()]],
    want: [`${AS_MADE} mtu 1450`],
  },
  {
    name: 'sets what is named of a port, and leaves the rest',
    run: [bridge(), veth, join, port({ hairpin: true }), port({ isolated: true })],
    want: [`${AS_MADE} mtu 1400`, 'port hairpin isolated'],
  },
  {
    name: 'locks a port to the addresses that it was told',
    run: [bridge(), veth, join, allow(), ['EEXIST', allow()], allow(OTHER_MAC), port({ locked: true })],
    want: [`${AS_MADE} mtu 1400`, `port locked to ${POD_MAC} ${OTHER_MAC}`],
  },
  {
    name: 'leaves the bridge when its port is removed, and forgets the port',
    run: [
      bridge(),
      veth,
      join,
      allow(),
      port({ locked: true, isolated: true }),
      { do: 'delete-link', at: 'host', link: TUL },
      veth,
      join,
      port({ locked: true }),
    ],
    want: [`${AS_MADE} mtu 1400`, 'port locked to '],
  },
]

/** What every Kernel has to do with bridges: as kernelContract(). */
export function bridgeContract(name: string, open: () => Promise<ContractSubject>): void {
  for (const { name: what, run, want } of SCENARIOS) {
    t.test(`${name} kernel ${what}`, async t => {
      const subject = await open()
      t.teardown(() => subject.dispose())
      const { kernel } = subject
      for (const step of run) {
        const [wanted, operation] = 'do' in step ? ['done', step] : step
        t.equal(await outcomeOf(kernel.apply(operation, soon())), wanted, renderOperation(operation))
      }
      t.strictSame(await describe(kernel), [...want])
    })
  }
}

async function describe(kernel: Kernel): Promise<readonly string[]> {
  const made = await kernel.observeInterface('host', BRIDGE, soon())
  const veth = await kernel.observeInterface('host', TUL, soon())
  const lines: string[] = []
  if (made !== undefined) {
    const { link, addresses } = made
    const flags = [link.isUp && 'up', link.isPromiscuous && 'promiscuous', link.alias && `'${link.alias}'`]
    const held = addresses.map(({ address, isTentative }) => `${formatPrefix(address)}${isTentative ? '?' : ''}`)
    const what = [link.kind, link.mac, 'group', link.group, 'mtu', link.mtuBytes, ...flags, ...held.toSorted()]
    lines.push(what.filter(Boolean).join(' '))
  }
  const { port } = veth?.link ?? {}
  if (port !== undefined) {
    const isOfIt = port.bridgeIndex === made?.link.index ? 'port' : 'port of another'
    const locked = port.isLocked && `locked to ${(veth?.allowedMacs ?? []).toSorted().join(' ')}`
    lines.push([isOfIt, port.isHairpin && 'hairpin', port.isIsolated && 'isolated', locked].filter(Boolean).join(' '))
  }
  return lines
}
