import { CniError, ErrorCode } from '../cni/errors.ts'
import type { IfName } from '../net/if-name.ts'
import { formatPrefix, overlaps, prefixOf, type AddressWithLength } from '../net/prefix.ts'
import { diffPlan } from '../plan/diff.ts'
import { isErrno, type Kernel } from '../plan/kernel.ts'
import { LINK_GROUP } from '../plan/marks.ts'
import type { ObservedInterface, ObservedLink, ObservedState } from '../plan/observed.ts'
import type { Operation, Plan } from '../plan/operation.ts'
import { planBridge, type BridgeInput } from '../plan/plan-bridge.ts'
import type { Deadline } from '../time/deadline.ts'
import { observeSettings } from './observe-plan.ts'

/** How often the bridge is looked at again, when others work on it too. */
const ROUNDS = 5

/**
 * Makes sure of the node's bridge before a pod is put on it.
 *
 * It is the node's: no DEL takes it away, and a failed ADD leaves it. One that is ours is brought to what is wanted; ADDs
 * that do so at once end with the same. One that somebody else made is used as it is and never changed (invariant 4).
 *
 * @returns The bridge.
 * @throws {CniError} code 103 when the name is another link's, or a foreign bridge is not what the pods need.
 */
export async function ensureBridge(kernel: Kernel, want: BridgeInput, options: EnsureOptions): Promise<ObservedLink> {
  const { by } = options
  let missing: Plan = []
  for (let round = 0; round < ROUNDS; round++) {
    const { plan, state } = await observeBridge(kernel, want, by)
    const { bridge } = state
    if (bridge !== undefined && !isOurs(bridge, want.bridge)) {
      const [problem] = foreignProblems(bridge, want.gateways)
      if (problem === undefined) return bridge.link
      throw exists(want.bridge, `somebody else made it, and ${problem}`)
    }
    if (bridge !== undefined) await makeRoom(kernel, bridge, { ...options, gateways: want.gateways })
    // Another ADD may make it first, with another hardware address: what follows from that is for the next round.
    missing = bridge === undefined ? plan.slice(0, 1) : diffPlan(plan, state).map(({ operation }) => operation)
    if (bridge !== undefined && missing.length === 0) return bridge.link
    for (const operation of missing) await applyUnlessThere(kernel, operation, by)
    if (bridge === undefined) options.log(`node: bridge ${want.bridge} made`)
  }
  throw new CniError(
    ErrorCode.tryAgainLater,
    `bridge ${want.bridge} does not stay as it is made: ${missing[0]?.do ?? 'it'} does not hold`,
  )
}

/** How ensureBridge works. */
export interface EnsureOptions {
  /** Addresses of ours on the bridge that overlap with a gateway's are removed instead of reported. */
  readonly forceAddress: boolean
  readonly log: (line: string) => void
  readonly by: Deadline
}

/** What is wrong with the bridge of a pod that is on it; empty when all is well. */
export async function checkBridge(kernel: Kernel, want: BridgeInput, by: Deadline): Promise<CheckedBridge> {
  const { plan, state } = await observeBridge(kernel, want, by)
  const { bridge } = state
  const isForeign = bridge?.link.kind === 'bridge' && bridge.link.group !== LINK_GROUP
  if (!isForeign) return { bridge, plan }
  return { bridge, plan: [], problems: foreignProblems(bridge, want.gateways).map(problem => `host: ${problem}`) }
}

/** What checkBridge found. */
export interface CheckedBridge {
  readonly bridge: ObservedInterface | undefined
  /** What of the bridge is ours and has to hold. */
  readonly plan: Plan
  /** What a foreign bridge lacks. */
  readonly problems?: readonly string[]
}

interface SeenBridge {
  /** What it has to be, with the hardware address that it has. */
  readonly plan: Plan
  readonly state: ObservedState
}

async function observeBridge(kernel: Kernel, want: BridgeInput, by: Deadline): Promise<SeenBridge> {
  const bridge = await kernel.observeInterface('host', want.bridge, by)
  const plan = planBridge({ ...want, mac: bridge?.link.mac ?? want.mac })
  const settings = observeSettings(kernel, plan)
  return { plan, state: { host: bridge, bridge, pod: undefined, podLoopback: undefined, settings } }
}

function isOurs({ link }: ObservedInterface, name: IfName): boolean {
  if (link.kind !== 'bridge') throw exists(name, `it is ${link.kind === undefined ? 'no bridge' : `a ${link.kind}`}`)
  return link.group === LINK_GROUP
}

function foreignProblems(
  { link, addresses }: ObservedInterface,
  gateways: readonly AddressWithLength[],
): readonly string[] {
  const held = new Set(addresses.map(({ address }) => formatPrefix(address)))
  return [
    ...(link.isUp ? [] : [`bridge ${link.name} is down`]),
    ...gateways
      .map(formatPrefix)
      .filter(gateway => !held.has(gateway))
      .map(gateway => `bridge ${link.name} has no address ${gateway} (want it there, or no isGateway)`),
  ]
}

interface Room extends EnsureOptions {
  readonly gateways: readonly AddressWithLength[]
}

/**
 * Two gateways of one bridge are two networks. Where their prefixes overlap, the kernel would choose for the pods: that is
 * refused, or with `forceAddress` the older one goes, as the reference plugin does it.
 */
async function makeRoom(kernel: Kernel, { link, addresses }: ObservedInterface, room: Room): Promise<void> {
  const { gateways, forceAddress, log, by } = room
  const wanted = new Set(gateways.map(formatPrefix))
  const inTheWay = addresses
    .map(({ address }) => address)
    .filter(held => !wanted.has(formatPrefix(held)) && gateways.some(gateway => overlap(gateway, held)))
  for (const address of inTheWay) {
    const text = formatPrefix(address)
    if (!forceAddress) {
      throw exists(
        link.name,
        `its address ${text} overlaps with ${[...wanted].join(' or ')}; want forceAddress, or it gone`,
      )
    }
    await kernel.apply({ do: 'delete-address', at: 'host', link: link.name, address }, by)
    log(`node: address ${text} removed from bridge ${link.name}: forceAddress`)
  }
}

function overlap(a: AddressWithLength, b: AddressWithLength): boolean {
  return overlaps(prefixOf(a.address, a.prefixLength), prefixOf(b.address, b.prefixLength))
}

/** What exists was made by another ADD meanwhile: the next round looks at it. */
async function applyUnlessThere(kernel: Kernel, operation: Operation, by: Deadline): Promise<void> {
  by.throwIfPast('making the bridge')
  try {
    await kernel.apply(operation, by)
  } catch (failure) {
    if (!isErrno(failure, 'EEXIST')) throw failure
  }
}

function exists(name: IfName, why: string): CniError {
  return new CniError(ErrorCode.interfaceExists, `host link ${name} exists already: ${why}`)
}
