import { CniError, ErrorCode } from '../cni/errors.ts'
import { attachmentKeyText, equalAttachments, type AttachmentKey } from '../ipam/attachment.ts'
import type { Address } from '../net/address.ts'
import { formatAddress } from '../net/address.ts'
import { renderHostPort, type PortMapping } from '../net/port-mapping.ts'
import {
  elementsOf,
  isExposed,
  isSamePort,
  planWithdrawal,
  rulesetsOf,
  unusablePorts,
  type Exposure,
} from '../plan/exposure.ts'
import { HOST_PORTS, HOST_PORTS_AT } from '../plan/exposure-ruleset.ts'
import { isErrno, type Kernel } from '../plan/kernel.ts'
import { hostIfNameOf } from '../plan/link-names.ts'
import { renderElement, renderKey, type Element, type ObservedElement } from '../plan/nft-set.ts'
import type { Plan } from '../plan/operation.ts'
import type { Deadline } from '../time/deadline.ts'
import { ApplyError, applyOrUndo, isGone } from './apply.ts'
import type { AttachmentCall } from './call.ts'
import type { Edges } from './edges.ts'

/** How long ADD waits for an attachment that left something behind, in milliseconds. */
const LOCK_WAIT_MS = 500

/** What finding out whose a port is gets beyond the deadline of ADD, in milliseconds. */
const EXPLAIN_GRACE_MS = 1_000

/** How often elements are looked up again when somebody changes them at the same time. */
const WITHDRAW_TRIES = 3

/** What `call` asks for beside an address; undefined for nothing. */
export function exposureOf(call: AttachmentCall, of: Exposed): Exposure | undefined {
  const { attachment, own } = call
  const exposure: Exposure = {
    attachment,
    addresses: of.addresses,
    ports: of.ports,
    isHairpinMasqueraded: own.snat,
    ...(own.masquerade === undefined ? {} : { masquerade: own.masquerade }),
  }
  return isExposed(exposure) ? exposure : undefined
}

/** What of a pod can be exposed. */
export interface Exposed {
  readonly addresses: readonly Address[]
  readonly ports: readonly PortMapping[]
}

/** Applies the plan of a pod, whether it is exposed or not, or undoes it. @throws {ApplyError | CniError} as applyExposed. */
export async function applyWith(kernel: Kernel, plan: Plan, { exposure, edges, by }: Applying): Promise<void> {
  if (exposure === undefined) return await applyOrUndo(kernel, plan, by)
  await prepareExposure(kernel, exposure, { edges, by })
  await applyExposed(kernel, plan, { exposure, edges, by })
}

interface Applying extends Host {
  readonly exposure: Exposure | undefined
}

/**
 * Gets ready for what a plan does about `exposure`: the parts of our nftables table that it needs, no elements of an earlier
 * life of the attachment, and a record by which ipamd can repair it.
 */
async function prepareExposure(kernel: Kernel, exposure: Exposure, { edges, by }: Host): Promise<void> {
  for (const ruleset of rulesetsOf(exposure)) {
    if (await kernel.hasRuleset(ruleset, by)) continue
    await kernel.replaceRuleset(ruleset, by)
    const names = ruleset.chains.map(({ name }) => name).join(', ')
    edges.log(`node: chains of nftables table inet tulle written: ${names}`)
  }
  for (const { hostAddress, ...port } of unusablePorts(exposure)) {
    const at = hostAddress && formatAddress(hostAddress)
    edges.log(`hostPort ${renderHostPort(port, at)} leads nowhere: the pod has no address of that family`)
  }
  await withdraw(kernel, exposure.attachment, { edges, by })
  edges.keepExposure(exposure)
}

/**
 * Applies a plan that exposes a pod, or undoes it.
 *
 * An attachment whose interface is gone may have left elements behind: DEL never came, and its address is somebody else's by
 * now. Those go, and the plan is applied once more. The kernel refuses two elements with one key; that one pod has a port at
 * any address and another has it at one of them shows only after both are there: whoever comes second sees the first.
 *
 * @throws {ApplyError} after undoing; {CniError} code 107 with the port and whose it is, when somebody has it.
 */
async function applyExposed(kernel: Kernel, plan: Plan, { exposure, edges, by }: Exposing): Promise<void> {
  try {
    await applyOrUndo(kernel, plan, by)
  } catch (failure) {
    if (!isTaken(failure)) throw failure
    const rivals = await rivalsOf(kernel, exposure, by.extended(EXPLAIN_GRACE_MS))
    // None any more: somebody else has removed it since, such as ipamd, which looks for what is stale.
    const [rival] = rivals
    if (rival !== undefined && !(await evictStale(kernel, rivals, { edges, by }))) throw taken(rival, failure)
    await applyOrUndo(kernel, plan, by)
  }
  const [overlap] = await overlapping(kernel, exposure, by)
  if (overlap !== undefined) throw taken(overlap)
}

interface Exposing extends Host {
  readonly exposure: Exposure
}

function isTaken(failure: unknown): boolean {
  const cause = failure instanceof ApplyError ? failure.cause : undefined
  return isErrno(cause, 'EEXIST') && cause.operation?.do === 'add-elements'
}

/** Removes every element of `attachment`, whatever the configuration says by now, and what is kept of it. None is fine. */
export async function withdraw(kernel: Kernel, attachment: AttachmentKey, { edges, by }: Host): Promise<void> {
  for (let tries = 1; ; tries++) {
    const held = await kernel.observeElements(attachment, by)
    try {
      for (const operation of planWithdrawal(attachment, held)) await kernel.apply(operation, by)
      break
    } catch (failure) {
      if (!isGone(failure) || tries === WITHDRAW_TRIES) throw failure
    }
  }
  edges.dropExposure(attachment)
}

interface Host {
  readonly edges: Edges
  readonly by: Deadline
}

/** An element that another attachment has, and that `mine` cannot be beside. */
interface Rival {
  readonly mine: Element
  readonly held: ObservedElement
}

/** The elements of others that have a key of ours. */
async function rivalsOf(kernel: Kernel, exposure: Exposure, by: Deadline): Promise<readonly Rival[]> {
  const others = othersAmong(await kernel.observeElements('all', by), exposure)
  return elementsOf(exposure).flatMap(mine =>
    others.filter(held => isSameKey(mine, held)).map(held => ({ mine, held })),
  )
}

/** The ports of others that are the same as ours under another key: at any address, and at one of them. */
async function overlapping(kernel: Kernel, exposure: Exposure, by: Deadline): Promise<readonly Rival[]> {
  const elements = elementsOf(exposure)
  const names = new Set(elements.map(({ set }) => set.name))
  const sets = ([4, 6] as const).flatMap(family => {
    const [any, one] = [HOST_PORTS[family], HOST_PORTS_AT[family]]
    return [...(names.has(any.name) ? [one] : []), ...(names.has(one.name) ? [any] : [])]
  })
  const others = othersAmong(await kernel.observeSets(sets, by), exposure)
  return elements.flatMap(mine => others.filter(held => isSamePort(mine, held)).map(held => ({ mine, held })))
}

function othersAmong(elements: readonly ObservedElement[], { attachment }: Exposure): readonly ObservedElement[] {
  return elements.filter(({ owner }) => owner === undefined || !equalAttachments(owner, attachment))
}

function isSameKey(one: Element, other: Element): boolean {
  return one.set.name === other.set.name && renderKey(one) === renderKey(other)
}

/** Removes what attachments without an interface have left behind. @returns True when that were all of `rivals`. */
async function evictStale(kernel: Kernel, rivals: readonly Rival[], { edges, by }: Host): Promise<boolean> {
  const unique = new Map(
    rivals.map(({ held: { owner } }) => [owner === undefined ? '' : attachmentKeyText(owner), owner]),
  )
  for (const owner of unique.values()) {
    if (owner === undefined || (await hasInterface(kernel, owner, by))) return false
    using _lock = await edges.lock(owner, by.capped(LOCK_WAIT_MS))
    if (await hasInterface(kernel, owner, by)) return false
    await withdraw(kernel, owner, { edges, by })
    edges.log(`elements of ${attachmentKeyText(owner)} removed: its interface is gone`)
  }
  return unique.size > 0
}

async function hasInterface(kernel: Kernel, attachment: AttachmentKey, by: Deadline): Promise<boolean> {
  return (await kernel.observeLink('host', hostIfNameOf(attachment), by)) !== undefined
}

function taken({ mine, held }: Rival, cause?: unknown): CniError {
  const whose = held.owner === undefined ? 'an element without an owner' : attachmentKeyText(held.owner)
  const what = `${held.set.name} { ${renderElement(held)} }`
  return new CniError(ErrorCode.portTaken, `${wantedOf(mine)} is taken: ${whose} has ${what}`, { cause })
}

function wantedOf(element: Element): string {
  if (!element.set.name.startsWith('hostports-')) return `${element.set.name} { ${renderKey(element)} }`
  const [protocol = '', ...rest] = renderKey(element).split(' . ')
  const [port = '', address] = rest.toReversed()
  return `hostPort ${port}/${protocol}${address === undefined ? '' : ` at ${address}`}`
}
