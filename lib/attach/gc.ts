import type { ValidAttachment } from '../cni/configuration.ts'
import { CniError, ErrorCode } from '../cni/errors.ts'
import { attachmentKeyText, type AttachmentKey } from '../ipam/attachment.ts'
import { OWNERS } from '../plan/exposure-ruleset.ts'
import type { Kernel } from '../plan/kernel.ts'
import { parseOwner } from '../plan/owner.ts'
import type { Deadline } from '../time/deadline.ts'
import { addressSource } from './address-source.ts'
import type { Call } from './call.ts'
import { detach } from './del.ts'
import type { Edges } from './edges.ts'
import { messageOf } from './message.ts'
import { toCniError } from './to-cni-error.ts'

/** How long GC waits for one attachment, in milliseconds: the others must not pay for one that hangs (G4). */
const LOCK_WAIT_MS = 2_000

/**
 * Removes every interface of this network, and frees every lease of it, that belongs to none of the attachments that the
 * runtime says are valid (SPEC 1.1.0, section 2, GC; checklist G1–G7).
 *
 * Without a list of valid attachments nothing of ours is touched (G3). What could not be removed keeps its lease. Every
 * step is tried; all failures are reported (G4).
 */
export async function gc(call: Call, edges: Edges, by: Deadline): Promise<void> {
  const { name, validAttachments: valid } = call.network
  const source = addressSource(call, edges)
  if (valid === undefined) {
    // Forwarded all the same (G5): a delegated plugin may know by itself what is stale.
    await source.collect(call, undefined, by)
    return
  }
  using kernel = edges.openKernel()
  const stale = await staleAttachments(kernel, { network: name, valid, by })
  const failures: unknown[] = []
  const kept: ValidAttachment[] = []
  for (const attachment of stale) {
    try {
      using _lock = await edges.lock(attachment, by.capped(LOCK_WAIT_MS))
      await detach(kernel, attachment, { edges, by })
    } catch (failure) {
      failures.push(failure)
      kept.push(attachment)
    }
  }
  await source.collect(call, [...valid, ...kept], by).catch((failure: unknown) => failures.push(failure))
  throwAll(failures)
}

interface Scope {
  readonly network: string
  readonly valid: readonly ValidAttachment[]
  readonly by: Deadline
}

/** The owners of this network's interfaces and elements of nftables that are not valid. Scoped by network name, never by plugin (G7, R39). */
async function staleAttachments(kernel: Kernel, { network, valid, by }: Scope): Promise<readonly AttachmentKey[]> {
  const isValid = new Set(valid.map(({ containerId, ifName }) => `${containerId}/${ifName}`))
  const links = [...(await kernel.observeOwnLinks(by)), ...(await kernel.observeOwnIfbs(by))]
  const elements = await kernel.observeSets([OWNERS], by)
  const owners = [
    ...links.map(({ alias }) => (alias === undefined ? undefined : parseOwner(alias)?.attachment)),
    ...elements.map(({ owner }) => owner),
  ].filter(attachment => attachment !== undefined)
  const unique = new Map(owners.map(attachment => [attachmentKeyText(attachment), attachment]))
  return [...unique.values()].filter(
    attachment => attachment.network === network && !isValid.has(`${attachment.containerId}/${attachment.ifName}`),
  )
}

function throwAll(failures: readonly unknown[]): void {
  const [first, ...more] = failures.map(toCniError)
  if (first === undefined) return
  if (more.length === 0) throw first
  const details = failures.map(messageOf).join('\n')
  throw new CniError(ErrorCode.delIncomplete, `${first.message} (and ${more.length} more)`, { details })
}
