import { formatAddress, type Address } from '../net/address.ts'
import type { AttachmentKey } from './attachment.ts'
import { attachmentToWire } from './lease.ts'
import { singleValues } from './query.ts'
import { ParseError } from '../net/parse-error.ts'
import { quoteText } from '../net/quote-text.ts'

/*
 * What the reconciler says over ipamd's socket: POST /v1/reconcile and GET /v1/check.
 */

/**
 * Why the reconciler frees a lease. It is also the reason in the history of the address.
 *
 * - older-boot: the kernel was started anew since, and no interface of the attachment is there.
 * - netns-gone: the node's network namespace of that time is gone, and with it every interface in it.
 * - no-interface: the plugin tulle asked for it, and no interface of the attachment is there.
 */
export type StaleReason = 'older-boot' | 'netns-gone' | 'no-interface'

/** What is wrong between the store and the kernel. */
export type FindingKind =
  /** The reconciler frees it when it stays so. */
  | 'lease-without-link'
  /** A finished interface whose addresses are of our blocks and which nobody has leased. Never deleted: a pod may live on it. */
  | 'link-without-lease'
  /** Of an ADD that is under way, or was killed. The reconciler removes it when it stays so. */
  | 'link-unfinished'
  /** A link in our group whose alias this version can't read. */
  | 'link-owner-unreadable'
  /** A host route of ours to an address of our blocks that nobody has leased. */
  | 'route-without-lease'
  /** The interface is there, and the node has no route to the leased address. */
  | 'lease-without-route'
  /** The route to a leased address leads to another attachment's interface. */
  | 'route-differs'
  /** Packets to free addresses of the block are not refused. The reconciler adds the route. */
  | 'block-without-route'
  /** A route of ours refuses packets to a block that the node does not have. */
  | 'route-without-block'
  /** A part of our nftables table that pods need is not there, or not as it should be. ipamd writes it again. */
  | 'rules-missing'
  /** A port or the masquerade of a pod is not in nftables. ipamd puts it back. */
  | 'element-missing'
  /** An element of an attachment that has no interface. ipamd removes it. */
  | 'element-without-link'
  /** An element of a pod of which ADD has kept nothing: it could not be put back. */
  | 'element-without-record'
  /** An element of ours whose comment names no owner. Never deleted. */
  | 'element-without-owner'

/** One thing that is wrong. */
export interface Finding {
  readonly kind: FindingKind
  /** For people. */
  readonly detail: string
  readonly attachment?: AttachmentKey
  readonly address?: Address
  readonly linkName?: string
}

/** A lease that looks stale. */
export interface StaleLease {
  readonly attachment: AttachmentKey
  readonly reason: StaleReason
  /** How long it has looked so without a break, in milliseconds. */
  readonly sinceMs: number
}

/** The answer of POST /v1/reconcile. With `dryRun` nothing was changed, and the lists say what would have been. */
export interface ReconcileReply {
  readonly dryRun: boolean
  readonly freed: readonly StaleLease[]
  /** Not freed yet: the grace is not over, somebody works on the attachment, or a last look found it alive. */
  readonly watched: readonly StaleLease[]
  readonly removedLinks: readonly string[]
  /** Blocks whose route was added again. */
  readonly repairedBlocks: readonly string[]
}

/** The answer of GET /v1/check. */
export interface CheckReply {
  /** Empty when the store and the kernel agree. */
  readonly findings: readonly Finding[]
}

export function reconcileReplyToWire(reply: ReconcileReply): object {
  return { ...reply, freed: reply.freed.map(staleToWire), watched: reply.watched.map(staleToWire) }
}

function staleToWire(stale: StaleLease): object {
  return { ...stale, attachment: attachmentToWire(stale.attachment) }
}

export function checkReplyToWire({ findings }: CheckReply): object {
  return {
    findings: findings.map(({ kind, detail, attachment, address, linkName }) => ({
      kind,
      detail,
      ...(attachment === undefined ? {} : { attachment: attachmentToWire(attachment) }),
      ...(address === undefined ? {} : { address: formatAddress(address) }),
      ...(linkName === undefined ? {} : { linkName }),
    })),
  }
}

/** True when POST /v1/reconcile asks for no change. @throws {ParseError} */
export function parseReconcileQuery(query: URLSearchParams): boolean {
  const text = singleValues(query, ['dryRun']).get('dryRun') ?? 'false'
  if (text !== 'true' && text !== 'false') throw new ParseError(`query.dryRun: ${quoteText(text)}: want true or false`)
  return text === 'true'
}
