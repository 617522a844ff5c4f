import { attachmentKeyText, equalAttachments, type AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { Finding } from '../../lib/ipam/reconcile.ts'
import { elementsOf, rulesetsOf, type Exposure } from '../../lib/plan/exposure.ts'
import { renderElement, type Element, type ObservedElement } from '../../lib/plan/nft-set.ts'
import type { ObservedLink } from '../../lib/plan/observed.ts'
import { parseOwner } from '../../lib/plan/owner.ts'
import { NODE_RULESET, type Ruleset } from '../../lib/plan/ruleset.ts'

/** What is kept of pods, and what the kernel has of them, at one moment. */
export interface ExposureSides {
  readonly exposures: readonly Exposure[]
  /** The node's links in our group. */
  readonly links: readonly ObservedLink[]
  readonly elements: readonly ObservedElement[]
}

/** What a pod should have in nftables and has not. */
export interface Missing {
  readonly exposure: Exposure
  readonly elements: readonly Element[]
}

/** The parts of our table that the node needs now. None: it has no pod. */
export function neededRulesets({ exposures, links }: Omit<ExposureSides, 'elements'>): readonly Ruleset[] {
  const wanted = links.length === 0 ? [] : [NODE_RULESET]
  const all = [...wanted, ...exposures.filter(each => isWired(each.attachment, links)).flatMap(rulesetsOf)]
  return [...new Map(all.map(ruleset => [namesOf(ruleset), ruleset])).values()]
}

/** The names of the chains of a part of our table: they say which part it is. */
export function namesOf({ chains }: Ruleset): string {
  return chains.map(({ name }) => name).join(', ')
}

/** What is missing of pods whose interface is there and whole: of others, ADD and DEL are at work, or the machine was restarted. */
export function missingElements({ exposures, links, elements }: ExposureSides): readonly Missing[] {
  const held = new Set(elements.map(textOf))
  return exposures
    .filter(({ attachment }) => isWired(attachment, links))
    .map(exposure => ({
      exposure,
      elements: elementsOf(exposure).filter(element => !held.has(textOf({ ...element, owner: exposure.attachment }))),
    }))
    .filter(({ elements }) => elements.length > 0)
}

/** Whose elements and records are left although no interface is: ports that lead to an address which may be another's soon. */
export function abandoned({ exposures, links, elements }: ExposureSides): readonly AttachmentKey[] {
  const owners = [...exposures.map(({ attachment }) => attachment), ...elements.map(({ owner }) => owner)]
  const unique = new Map(
    owners.filter(owner => owner !== undefined).map(owner => [attachmentKeyText(owner), owner] as const),
  )
  return [...unique.values()].filter(owner => !links.some(link => ownerOf(link, owner) !== undefined))
}

/** What is wrong between the records and nftables, in both directions. */
export function exposureFindings(sides: ExposureSides): readonly Finding[] {
  const kept = new Set(sides.exposures.map(({ attachment }) => attachmentKeyText(attachment)))
  const left = new Set(abandoned(sides).map(attachmentKeyText))
  return [
    ...missingElements(sides).flatMap(({ exposure: { attachment }, elements }) =>
      elements.map(element => ({
        kind: 'element-missing' as const,
        detail: `nftables lacks ${shown(element)} of ${attachmentKeyText(attachment)}`,
        attachment,
      })),
    ),
    ...sides.elements.flatMap((element): readonly Finding[] => {
      const { owner } = element
      if (owner === undefined) return [{ kind: 'element-without-owner', detail: `${shown(element)} has no owner` }]
      const key = attachmentKeyText(owner)
      if (left.has(key)) {
        const detail = `${shown(element)} is of ${key}, which has no interface`
        return [{ kind: 'element-without-link', detail, attachment: owner }]
      }
      if (kept.has(key)) return []
      return [
        {
          kind: 'element-without-record',
          detail: `${shown(element)} is of ${key}, of which nothing is kept`,
          attachment: owner,
        },
      ]
    }),
  ]
}

/** True when the attachment has its interface, and its ADD has ended. */
export function isWired(attachment: AttachmentKey, links: readonly ObservedLink[]): boolean {
  return links.some(link => ownerOf(link, attachment)?.isComplete === true)
}

function ownerOf({ alias }: ObservedLink, attachment: AttachmentKey) {
  const owner = alias === undefined ? undefined : parseOwner(alias)
  return owner !== undefined && equalAttachments(owner.attachment, attachment) ? owner : undefined
}

function textOf(element: ObservedElement): string {
  return `${element.owner === undefined ? '' : attachmentKeyText(element.owner)} ${shown(element)}`
}

function shown(element: Element): string {
  return `${element.set.name} { ${renderElement(element)} }`
}
