import { attachmentHash, attachmentKeyText, fnv1a64, type AttachmentKey } from '../ipam/attachment.ts'
import { parseIfName, type IfName } from '../net/if-name.ts'
import { macFromBytes, type Mac } from '../net/mac.ts'
import { HOST_IF_NAME_PREFIX, IFB_NAME_PREFIX } from './marks.ts'

/** 60 of the hash's bits: as many as an interface name of 15 bytes holds after its prefix. */
const HASH_CHARACTERS = 12

/**
 * The name of the host-side veth of `attachment`.
 *
 * Derived, not random: DEL and GC find the interface without any state (R22). Two attachments whose names collide are told
 * apart by the owner in the alias; the second is refused, never given the first one's interface.
 */
export function hostIfNameOf(attachment: AttachmentKey): IfName {
  return parseIfName(HOST_IF_NAME_PREFIX + attachmentHash(attachment).slice(0, HASH_CHARACTERS))
}

/** The name of the link through which packets of `attachment` are led to be shaped. Derived, as that of its veth. */
export function ifbNameOf(attachment: AttachmentKey): IfName {
  return parseIfName(IFB_NAME_PREFIX + attachmentHash(attachment).slice(0, HASH_CHARACTERS))
}

/** The name of the host-side veth whose packets are led through `ifbName`; undefined when that is none of our names. */
export function hostIfNameOfIfb(ifbName: IfName): IfName | undefined {
  if (!ifbName.startsWith(IFB_NAME_PREFIX)) return undefined
  return parseIfName(HOST_IF_NAME_PREFIX + ifbName.slice(IFB_NAME_PREFIX.length))
}

/** How attachmentHash() of the attachment begins whose host-side veth has this name. */
export function hashOfHostIfName(hostIfName: IfName): string {
  return hostIfName.slice(HOST_IF_NAME_PREFIX.length)
}

/**
 * The hardware address of one end of the pair of `attachment`, or of the bridge that was made for it: derived, so that nobody
 * rewrites it later (R23).
 */
export function macOf(attachment: AttachmentKey, end: 'host' | 'pod' | 'bridge'): Mac {
  const hash = fnv1a64(`${attachmentKeyText(attachment)} ${end}`)
  const bytes = Uint8Array.from({ length: 6 }, (_, index) => Number((hash >> BigInt(8 * index)) & 0xffn))
  // Locally administered, unicast (IEEE 802: bit 1 set, bit 0 clear).
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02
  return macFromBytes(bytes)
}
