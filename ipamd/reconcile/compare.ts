import { attachmentKeyText, equalAttachments, type AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { Lease } from '../../lib/ipam/lease.ts'
import type { Finding } from '../../lib/ipam/reconcile.ts'
import { formatAddress, type Address } from '../../lib/net/address.ts'
import { containsAddress, formatPrefix, hostPrefix, type Prefix } from '../../lib/net/prefix.ts'
import type { ObservedLink, OwnRoute } from '../../lib/plan/observed.ts'
import { parseOwner, type Owner } from '../../lib/plan/owner.ts'

/** What the store and the kernel say about one moment. */
export interface BothSides {
  /** Looked up, not listed: a node may have many leases, and has few links. */
  readonly leaseOf: (attachment: AttachmentKey) => Lease | undefined
  readonly holderOf: (address: Address) => AttachmentKey | undefined
  readonly blocks: readonly Prefix[]
  readonly links: readonly ObservedLink[]
  readonly routes: readonly OwnRoute[]
}

interface OwnedLink {
  readonly link: ObservedLink
  readonly owner: Owner
}

/**
 * What is wrong between store and kernel, seen from the kernel's side and from that of the blocks. Which leases lack their
 * interface is decideStale's to say: not every lease has one of ours.
 *
 * Interfaces and routes with addresses outside our blocks are none of ours to judge: their network has another IPAM plugin.
 */
export function compareSides(sides: BothSides): readonly Finding[] {
  const owned = ownedLinks(sides.links)
  return [
    ...unreadableLinks(sides.links),
    ...owned.flatMap(each => linkFindings(each, sides)),
    ...routeFindings(sides, owned),
    ...blockFindings(sides),
  ]
}

function ownedLinks(links: readonly ObservedLink[]): readonly OwnedLink[] {
  return links.flatMap(link => {
    const owner = link.alias === undefined ? undefined : parseOwner(link.alias)
    return owner === undefined ? [] : [{ link, owner }]
  })
}

function unreadableLinks(links: readonly ObservedLink[]): readonly Finding[] {
  return links.flatMap(({ name, alias }): readonly Finding[] => {
    if (alias === undefined) {
      return [{ kind: 'link-unfinished', detail: `${name} has no alias: an ADD did not get further`, linkName: name }]
    }
    if (parseOwner(alias) !== undefined) return []
    return [{ kind: 'link-owner-unreadable', detail: `${name} has the alias ${JSON.stringify(alias)}`, linkName: name }]
  })
}

function linkFindings(
  { link, owner: { attachment, isComplete } }: OwnedLink,
  { blocks, leaseOf, routes }: BothSides,
): readonly Finding[] {
  const about = { attachment, linkName: link.name }
  if (!isComplete)
    return [{ kind: 'link-unfinished', detail: `${link.name} is of an ADD that has not ended`, ...about }]
  const lease = leaseOf(attachment)
  if (lease === undefined) {
    const inBlock = routes.find(({ to, linkIndex }) => linkIndex === link.index && isInBlocks(to, blocks))
    if (inBlock === undefined) return []
    const detail = `${link.name} is finished, and has ${formatPrefix(inBlock.to)} without a lease`
    return [{ kind: 'link-without-lease', detail, address: inBlock.to.address, ...about }]
  }
  return lease.addresses
    .filter(({ address }) => !routes.some(({ to }) => formatPrefix(to) === formatPrefix(hostPrefix(address))))
    .map(({ address }) => ({
      kind: 'lease-without-route',
      detail: `no route to ${formatAddress(address)}, which ${link.name} holds`,
      address,
      ...about,
    }))
}

function routeFindings({ holderOf, blocks, routes }: BothSides, owned: readonly OwnedLink[]): readonly Finding[] {
  const ownerOf = new Map(owned.map(({ link, owner }) => [link.index, owner]))
  return routes.flatMap(({ to, linkIndex }): readonly Finding[] => {
    if (linkIndex === undefined || !isHost(to) || !isInBlocks(to, blocks)) return []
    const { address } = to
    const text = formatAddress(address)
    const owner = ownerOf.get(linkIndex)
    const holder = holderOf(address)
    const led = owner === undefined ? `link ${linkIndex}` : `the interface of ${attachmentKeyText(owner.attachment)}`
    if (holder === undefined) {
      return [{ kind: 'route-without-lease', detail: `a route to ${text} leads to ${led}`, address }]
    }
    if (owner !== undefined && equalAttachments(owner.attachment, holder)) return []
    const detail = `${text} is leased to ${attachmentKeyText(holder)}, and its route leads to ${led}`
    return [{ kind: 'route-differs', detail, address, attachment: holder }]
  })
}

/** The blocks whose free addresses get no refusal (checklist R29), and refusals for what is no block. */
function blockFindings({ blocks, routes }: BothSides): readonly Finding[] {
  const refused = new Map(
    routes.filter(({ linkIndex }) => linkIndex === undefined).map(({ to }) => [formatPrefix(to), to]),
  )
  const known = new Set(blocks.map(formatPrefix))
  return [
    ...blocksWithoutRoute(blocks, routes).map(block => ({
      kind: 'block-without-route' as const,
      detail: `no route refuses packets to free addresses of ${formatPrefix(block)}`,
      address: block.address,
    })),
    ...[...refused]
      .filter(([text]) => !known.has(text))
      .map(([text, { address }]) => ({
        kind: 'route-without-block' as const,
        detail: `a route refuses packets to ${text}, which is no block of this node`,
        address,
      })),
  ]
}

/** The blocks whose route is gone: somebody flushed the table (checklist R18). */
export function blocksWithoutRoute(blocks: readonly Prefix[], routes: readonly OwnRoute[]): readonly Prefix[] {
  const refused = new Set(routes.filter(({ linkIndex }) => linkIndex === undefined).map(({ to }) => formatPrefix(to)))
  return blocks.filter(block => !refused.has(formatPrefix(block)))
}

function isHost({ address, prefixLength }: Prefix): boolean {
  return prefixLength === (address.family === 4 ? 32 : 128)
}

function isInBlocks({ address }: Prefix, blocks: readonly Prefix[]): boolean {
  return blocks.some(block => containsAddress(block, address))
}
