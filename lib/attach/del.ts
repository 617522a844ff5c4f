import { CniError, ErrorCode } from '../cni/errors.ts'
import type { AttachmentKey } from '../ipam/attachment.ts'
import { hostIfNameOf, ifbNameOf } from '../plan/link-names.ts'
import type { Kernel } from '../plan/kernel.ts'
import type { ObservedLink } from '../plan/observed.ts'
import type { Deadline } from '../time/deadline.ts'
import { allEnded } from './all-ended.ts'
import { addressSource } from './address-source.ts'
import type { AttachmentCall } from './call.ts'
import type { Edges } from './edges.ts'
import { withdraw } from './expose.ts'
import { ownershipOf, removeIfb, removeLink } from './leftovers.ts'
import { messageOf } from './message.ts'

/**
 * Undoes ADD as far as possible (SPEC 1.1.0, section 2, DEL; checklist D1–D7).
 *
 * It needs neither the pod's namespace nor prevResult nor ipamd: the host-side veth is found by its derived name, and takes
 * the pod's end and all that hangs on both with it. Missing things are success. The address is given back only when the
 * interface is seen to be gone: while it answers, nobody else may have it (D5).
 *
 * @throws {CniError} code 105 with what could not be removed; what could be removed is.
 */
export async function del(call: AttachmentCall, edges: Edges, by: Deadline): Promise<void> {
  using _lock = await edges.lock(call.attachment, by)
  using kernel = edges.openKernel()
  await detach(kernel, call.attachment, { edges, by })
  await addressSource(call, edges).release(call, by)
}

/**
 * Removes what leads to the attachment (elements of nftables, by their owner), and its interface, if it has one and it is its own.
 *
 * A link of that name that belongs to somebody else stays, and is no failure: this attachment has none then (R22).
 *
 * @throws {CniError} code 105 when it does not go.
 */
export async function detach(kernel: Kernel, attachment: AttachmentKey, { edges, by }: Detaching): Promise<void> {
  const hostIfName = hostIfNameOf(attachment)
  try {
    // First: a port must not lead to an address that is somebody else's by then.
    await withdraw(kernel, attachment, { edges, by })
  } catch (failure) {
    throw incomplete(attachment, ['the ports', 'are'], failure)
  }
  const leaveAlone = ({ name, alias }: ObservedLink): void =>
    edges.log(`host link ${name} is left alone: its alias is '${alias ?? ''}'`)
  const [link, ifb] = await allEnded([
    kernel.observeLink('host', hostIfName, by),
    kernel.observeLink('host', ifbNameOf(attachment), by),
  ])
  const isForeign = link !== undefined && ownershipOf(link, attachment) === 'foreign'
  if (isForeign) leaveAlone(link)
  try {
    if (link !== undefined && !isForeign) await removeLink(kernel, hostIfName, by)
    // Also where there is no interface: this one does not go with the pod's namespace.
    const foreign = ifb && (await removeIfb(kernel, ifb, { attachment, by }))
    if (foreign !== undefined) leaveAlone(foreign)
  } catch (failure) {
    throw incomplete(attachment, ['the interface', 'is'], failure)
  }
}

function incomplete(
  { containerId, ifName }: AttachmentKey,
  [what, be]: readonly [string, string],
  cause: unknown,
): CniError {
  const said = `${what} of ${containerId}/${ifName} ${be} not removed, its address is kept: ${messageOf(cause)}`
  return new CniError(ErrorCode.delIncomplete, said, { cause })
}

interface Detaching {
  readonly edges: Edges
  readonly by: Deadline
}
