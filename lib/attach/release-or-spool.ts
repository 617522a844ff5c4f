import { attachmentKeyText, isAttachmentKey, type AttachmentKey } from '../ipam/attachment.ts'
import type { Deadline } from '../time/deadline.ts'
import type { Edges } from './edges.ts'
import { isIpamFailure } from './ipam-failure.ts'

/** How long a release waits for a daemon that is there and does not answer, in milliseconds: the spool takes it as well. */
const RELEASE_WAIT_MS = 5_000

/** The lease that ends, and the ipamd that has it. */
interface Ending {
  readonly attachment: AttachmentKey
  readonly socketPath: string
}

/**
 * Gives the attachment's addresses back: to ipamd, or to its spool when it does not take them now. DEL must not need the
 * daemon (checklist R13). No lease is success. Call it only when the interface is gone (invariant 2).
 *
 * @throws {CniError} code 5 when ipamd does not take it, and the spool cannot be written to either.
 */
export async function releaseOrSpool(
  { attachment, socketPath }: Ending,
  edges: Pick<Edges, 'ipam' | 'spoolRelease' | 'nowUnixMs' | 'log'>,
  by: Deadline,
): Promise<void> {
  // Nothing was ever leased under a name that ipamd does not take, and its spool would keep the release as one that nobody can read.
  if (!isAttachmentKey(attachment)) return
  try {
    const soon = by.capped(RELEASE_WAIT_MS)
    await edges.ipam(socketPath).release({ attachment, deadlineUnixMs: soon.toUnixMs() }, soon)
  } catch (failure) {
    // No time left to ask counts too: the interface is gone by then, and nobody else would give the address back.
    if (!isIpamFailure(failure)) throw failure
    edges.spoolRelease(socketPath, { attachment, releasedAtUnixMs: edges.nowUnixMs() })
    edges.log(`release of ${attachmentKeyText(attachment)} spooled: ${failure.message}`)
  }
}
