import { CniError, ErrorCode } from '../cni/errors.ts'
import { equalAttachments, type AttachmentKey } from '../ipam/attachment.ts'
import type { IfName } from '../net/if-name.ts'
import type { Kernel } from '../plan/kernel.ts'
import { ifbNameOf } from '../plan/link-names.ts'
import { isOurGroup } from '../plan/marks.ts'
import type { ObservedLink } from '../plan/observed.ts'
import { parseOwner } from '../plan/owner.ts'
import { planDetach } from '../plan/plan-attach.ts'
import type { Deadline } from '../time/deadline.ts'
import { allEnded } from './all-ended.ts'
import { isGone } from './apply.ts'
import type { Edges } from './edges.ts'
import { withdraw } from './expose.ts'

/** Whose a host-side link is, seen from one attachment. */
export type Ownership = 'ours' | 'ours-unfinished' | 'foreign'

/**
 * Tells whose `link` is, which has the name that was derived from `attachment`.
 *
 * A link in our group without an alias was just created by an ADD that was killed at once: the kernel cannot set the alias in
 * the same request (R22). One whose alias we cannot read is ours all the same: somebody edited the text, or a newer version
 * wrote it, and an address must not be freed while its interface lives (invariant 2).
 */
export function ownershipOf(link: ObservedLink, attachment: AttachmentKey): Ownership {
  const owner = link.alias === undefined ? undefined : parseOwner(link.alias)
  if (owner !== undefined && !equalAttachments(owner.attachment, attachment)) return 'foreign'
  if (owner !== undefined) return owner.isComplete ? 'ours' : 'ours-unfinished'
  if (!isOurGroup(link.group)) return 'foreign'
  return link.alias === undefined ? 'ours-unfinished' : 'ours'
}

/**
 * Makes room for a new interface: removes what an earlier ADD of the same attachment left behind, and refuses when the
 * interface is there and is anybody's in use (checklist A1, A11).
 *
 * @throws {CniError} code 103 naming the interface and whose it is.
 */
export async function clearLeftovers(kernel: Kernel, names: Names, { edges, by }: Host): Promise<void> {
  const { attachment, hostIfName, podIfName, netnsPath, isOwnAttempt, isShaped } = names
  const [host, pod, ifb] = await allEnded([
    kernel.observeLink('host', hostIfName, by),
    kernel.observeLink('pod', podIfName, by),
    isShaped ? kernel.observeLink('host', ifbNameOf(attachment), by) : Promise.resolve(undefined),
  ])
  if (host !== undefined) {
    const ownership = ownershipOf(host, attachment)
    if (ownership === 'foreign') throw exists(`host link ${hostIfName}`, `its alias is '${host.alias ?? ''}'`)
    const isInUse = ownership === 'ours' && pod !== undefined && pod.index === host.peerIndex
    if (isInUse && !isOwnAttempt)
      throw exists(`${podIfName} in ${netnsPath}`, 'an earlier ADD of this container made it; want DEL first')
    // Either ADD never ended, or its answer was lost, or its other end is in a namespace that is no longer this container's.
    await withdraw(kernel, attachment, { edges, by })
    await removeLink(kernel, hostIfName, by)
  }
  if (host !== undefined || isShaped) {
    const left = ifb ?? (isShaped ? undefined : await kernel.observeLink('host', ifbNameOf(attachment), by))
    const foreign = left && (await removeIfb(kernel, left, { attachment, by }))
    if (foreign !== undefined && isShaped)
      throw exists(`host link ${foreign.name}`, `its alias is '${foreign.alias ?? ''}'`)
  }
  if (pod !== undefined && (await kernel.observeLink('pod', podIfName, by)) !== undefined) {
    throw exists(`${podIfName} in ${netnsPath}`, 'somebody else made it')
  }
}

/** What an attachment's interface is called at both ends. */
export interface Names {
  readonly attachment: AttachmentKey
  readonly hostIfName: IfName
  readonly podIfName: IfName
  readonly netnsPath: string
  /** True when a whole interface of the attachment can only be this call's own work. */
  readonly isOwnAttempt: boolean
  /** True when the attachment is to have a link of ours beside its interface. */
  readonly isShaped: boolean
}

interface Host {
  readonly edges: Edges
  readonly by: Deadline
}

/**
 * Removes the link through which packets of the attachment were led to be shaped. It does not go with the pod's namespace.
 *
 * @param ifb the link of that name.
 * @returns It, when it is somebody else's and stays.
 */
export async function removeIfb(
  kernel: Kernel,
  ifb: ObservedLink,
  { attachment, by }: { readonly attachment: AttachmentKey; readonly by: Deadline },
): Promise<ObservedLink | undefined> {
  if (ownershipOf(ifb, attachment) === 'foreign') return ifb
  await removeLink(kernel, ifb.name, by)
  return undefined
}

/** Removes a host-side link and with it the pod's. A link that is not there is removed. */
export async function removeLink(kernel: Kernel, hostIfName: IfName, by: Deadline): Promise<void> {
  for (const operation of planDetach(hostIfName)) {
    by.throwIfPast(`removing ${hostIfName}`)
    try {
      await kernel.apply(operation, by)
    } catch (failure) {
      if (!isGone(failure)) throw failure
    }
  }
}

function exists(what: string, why: string): CniError {
  return new CniError(ErrorCode.interfaceExists, `${what} exists already: ${why}`)
}
