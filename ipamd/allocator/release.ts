import { attachmentKeyText, type AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { Lease } from '../../lib/ipam/lease.ts'
import type { CollectRequest, LeaseFilter, ReleaseRequest } from '../../lib/ipam/protocol.ts'
import { equalAddresses, type Address } from '../../lib/net/address.ts'
import type { LeaseEvent, ReleaseReason } from './events.ts'
import type { State } from './state.ts'

export type Release =
  | { readonly kind: 'released'; readonly events: readonly LeaseEvent[] }
  | { readonly kind: 'not-leased' }
  /** The attachment has another lease than the one that the caller means: nothing is freed (checklist R7). */
  | { readonly kind: 'other-lease'; readonly lease: Lease }

/** Decides the end of an attachment's lease. Changes nothing. */
export function release(
  state: State,
  request: ReleaseRequest,
  at: { nowUnixMs: number; reason: ReleaseReason },
): Release {
  const lease = state.leases.get(request.attachment)
  if (lease === undefined) return { kind: 'not-leased' }
  if (request.addresses !== undefined && !hasExactly(lease, request.addresses)) return { kind: 'other-lease', lease }
  return { kind: 'released', events: [{ type: 'released', lease, atUnixMs: at.nowUnixMs, reason: at.reason }] }
}

function hasExactly(lease: Lease, addresses: readonly Address[]): boolean {
  return (
    lease.addresses.length === addresses.length &&
    lease.addresses.every(({ address }) => addresses.some(each => equalAddresses(each, address)))
  )
}

/** Decides which leases of the network end because their attachment is not valid any more (checklist G1, G7). */
export function collect(
  state: State,
  request: CollectRequest,
  nowUnixMs: number,
): readonly (LeaseEvent & { type: 'released' })[] {
  const valid = new Set(request.valid.map(each => attachmentKeyText({ network: request.network, ...each })))
  const ended = [...state.leases.attachments(request.network)].filter(each => !valid.has(attachmentKeyText(each)))
  return leasesOf(state, ended).map(lease => ({ type: 'released', lease, atUnixMs: nowUnixMs, reason: 'collect' }))
}

/** The leases that match every part that is given. A whole attachment is found without a scan. */
export function findLeases(state: State, { network, containerId, ifName }: LeaseFilter): readonly Lease[] {
  if (network !== undefined && containerId !== undefined && ifName !== undefined) {
    const lease = state.leases.get({ network, containerId, ifName })
    return lease === undefined ? [] : [lease]
  }
  const found = [...state.leases.attachments(network)].filter(
    each =>
      (containerId === undefined || each.containerId === containerId) &&
      (ifName === undefined || each.ifName === ifName),
  )
  return leasesOf(state, found)
}

function leasesOf(state: State, attachments: readonly AttachmentKey[]): readonly Lease[] {
  return attachments.map(each => state.leases.get(each)).filter(lease => lease !== undefined)
}
