import type { AttachmentKey } from '../ipam/attachment.ts'
import { parseAddress, type Address, type Family } from '../net/address.ts'
import type { PortMapping } from '../net/port-mapping.ts'
import { containsAddress, type Prefix } from '../net/prefix.ts'
import {
  ELEMENT_SETS,
  HAIRPINS,
  HOST_PORT_RULESET,
  HOST_PORTS,
  HOST_PORTS_AT,
  MASQUERADE,
  masqueradeChainName,
  masqueradeRuleset,
  OWNERS,
} from './exposure-ruleset.ts'
import { hostIfNameOf } from './link-names.ts'
import { renderElement, renderKey, type Element } from './nft-set.ts'
import type { HostUdpPort, Plan } from './operation.ts'
import { LOOPBACK_IPV4, type Ruleset } from './ruleset.ts'

/** How a pod meets the outside. What of nftables it needs follows from this alone. */
export interface Exposure {
  readonly attachment: AttachmentKey
  /** Those of the pod, at most one for each family. */
  readonly addresses: readonly Address[]
  readonly ports: readonly PortMapping[]
  /** Whether connections from the pod to itself and from the host's loopback get the node's address as their source. */
  readonly isHairpinMasqueraded: boolean
  /** Undefined: connections to the outside keep the pod's address. */
  readonly masquerade?: { readonly except: readonly Prefix[] }
}

const LOOPBACK = parseAddress('127.0.0.1')

/** Whether `exposure` asks for anything of nftables. */
export function isExposed({ ports, masquerade }: Exposure): boolean {
  return ports.length > 0 || masquerade !== undefined
}

/** The parts of our table that `exposure` needs to be there. */
export function rulesetsOf({ ports, masquerade }: Exposure): readonly Ruleset[] {
  return [
    ...(ports.length === 0 ? [] : [HOST_PORT_RULESET]),
    ...(masquerade === undefined ? [] : [masqueradeRuleset(masquerade.except)]),
  ]
}

/** Every element that belongs to the attachment, once each; the last says where the others are. None: nothing is asked for. */
export function elementsOf(exposure: Exposure): readonly Element[] {
  const elements = [
    ...exposure.addresses.flatMap(address => [
      ...usableIn(address.family, exposure.ports).map(port => hostPortElement(port, address)),
      ...hairpinElements(address, exposure),
    ]),
    ...masqueradeElements(exposure),
  ]
  const unique = [
    ...new Map(elements.map(element => [`${element.set.name} ${renderElement(element)}`, element])).values(),
  ]
  return unique.length === 0 ? [] : [...unique, ownerElement(exposure.attachment, unique)]
}

/** Plans what makes the pod reachable by its ports and lets it out masqueraded. The parts of our table are there already. */
export function planExposure(exposure: Exposure): Plan {
  const { attachment: owner } = exposure
  return planElements(owner, elementsOf(exposure))
}

/** Plans that elements of an attachment are there, and take effect for flows that exist. */
export function planElements(owner: AttachmentKey, elements: readonly Element[]): Plan {
  return elements.length === 0 ? [] : [{ do: 'add-elements', owner, elements }, ...planForgetting(elements)]
}

/** Plans the end of what planExposure() made, from the elements that are there. */
export function planWithdrawal(owner: AttachmentKey, elements: readonly Element[]): Plan {
  return elements.length === 0 ? [] : [{ do: 'delete-elements', owner, elements }, ...planForgetting(elements)]
}

/** The mappings that lead nowhere, because the pod has no address of their family. */
export function unusablePorts({ ports, addresses }: Pick<Exposure, 'ports' | 'addresses'>): readonly PortMapping[] {
  return ports.filter(
    ({ hostAddress }) => hostAddress !== undefined && !addresses.some(({ family }) => family === hostAddress.family),
  )
}

/** True when connections from 127.0.0.1 can lead to the pod: then its interface has to route them. */
export function isReachedFromLoopback({ ports, addresses, isHairpinMasqueraded }: Exposure): boolean {
  const isIpv4 = addresses.some(({ family }) => family === 4)
  return isIpv4 && isHairpinMasqueraded && usableIn(4, ports).some(coversLoopback)
}

/** True when both elements lay claim to the same packets: the same key, or one at any address and one at one of them. */
export function isSamePort(one: Element, other: Element): boolean {
  const [a, b] = [claimOf(one), claimOf(other)]
  if (a === undefined || b === undefined || a.family !== b.family || a.port !== b.port) return false
  return a.address === undefined || b.address === undefined || a.address === b.address
}

/** After the elements have changed: what arrives from then on is looked up anew (R19). */
function planForgetting(elements: readonly Element[]): Plan {
  const ports = elements.map(udpPortOf).filter(port => port !== undefined)
  return ports.length === 0 ? [] : [{ do: 'forget-flows', ports }]
}

function udpPortOf({ set, key, data }: Element): HostUdpPort | undefined {
  const isAtOne = HOST_PORTS_AT[4].name === set.name || HOST_PORTS_AT[6].name === set.name
  if (!isAtOne && HOST_PORTS[4].name !== set.name && HOST_PORTS[6].name !== set.name) return undefined
  const [protocol, hostAddress, hostPort] = isAtOne ? key : [key[0], undefined, key[1]]
  const [podAddress, podPort] = data ?? []
  if (protocol !== 'udp' || typeof hostPort !== 'number' || typeof podPort !== 'number') return undefined
  if (typeof podAddress !== 'object') return undefined
  return { hostPort, podAddress, podPort, ...(typeof hostAddress === 'object' ? { hostAddress } : {}) }
}

interface Claim {
  readonly family: Family
  readonly port: string
  readonly address?: string
}

function claimOf(element: Element): Claim | undefined {
  for (const family of [4, 6] as const) {
    const [protocol, ...rest] = renderKey(element).split(' . ')
    if (element.set.name === HOST_PORTS[family].name) return { family, port: `${protocol}/${rest[0]}` }
    if (element.set.name === HOST_PORTS_AT[family].name)
      return { family, port: `${protocol}/${rest[1]}`, address: rest[0] ?? '' }
  }
  return undefined
}

function usableIn(family: Family, ports: readonly PortMapping[]): readonly PortMapping[] {
  return ports.filter(({ hostAddress }) => hostAddress === undefined || hostAddress.family === family)
}

/** 0.0.0.0 and :: mean every address of their family. */
function isAny({ hostAddress }: PortMapping): boolean {
  return hostAddress === undefined || hostAddress.value === 0n
}

function coversLoopback(port: PortMapping): boolean {
  return isAny(port) || (port.hostAddress !== undefined && containsAddress(LOOPBACK_IPV4, port.hostAddress))
}

function hostPortElement(port: PortMapping, address: Address): Element {
  const { protocol, hostPort, containerPort, hostAddress } = port
  const data = [address, containerPort]
  return isAny(port) || hostAddress === undefined
    ? { set: HOST_PORTS[address.family], key: [protocol, hostPort], data }
    : { set: HOST_PORTS_AT[address.family], key: [protocol, hostAddress, hostPort], data }
}

function hairpinElements(address: Address, { ports, isHairpinMasqueraded }: Exposure): readonly Element[] {
  const usable = usableIn(address.family, ports)
  if (!isHairpinMasqueraded || usable.length === 0) return []
  const set = HAIRPINS[address.family]
  const fromLoopback = address.family === 4 && usable.some(coversLoopback)
  return [{ set, key: [address, address] }, ...(fromLoopback ? [{ set, key: [LOOPBACK, address] }] : [])]
}

function masqueradeElements({ addresses, masquerade }: Exposure): readonly Element[] {
  if (masquerade === undefined) return []
  const chain = masqueradeChainName(masquerade.except)
  return addresses.map(address => ({ set: MASQUERADE[address.family], key: [address], data: [chain] }))
}

function ownerElement(attachment: AttachmentKey, elements: readonly Element[]): Element {
  const names = new Set(elements.map(({ set }) => set.name))
  const bits = ELEMENT_SETS.reduce((sum, set, index) => (names.has(set.name) ? sum | (1 << index) : sum), 0)
  return { set: OWNERS, key: [hostIfNameOf(attachment)], data: [bits] }
}
