import type { AttachmentKey } from '../ipam/attachment.ts'

/**
 * What a host-side veth's ifalias says about its owner (R22). The kernel keeps 255 bytes; lib/cni bounds the parts so that
 * the text always fits.
 */
export interface Owner {
  readonly attachment: AttachmentKey
  /** False while ADD is under way: an interface that stays so was left behind by an ADD that was killed. */
  readonly isComplete: boolean
}

const MARK = 'tulle/1'
const UNFINISHED = 'adding'

/** Writes `owner` as ifalias: `tulle/1 eth0 <containerId> <network>`, with `adding` after the mark while unfinished. */
export function formatOwner(owner: Owner): string {
  const { ifName, containerId, network } = owner.attachment
  return [MARK, ...(owner.isComplete ? [] : [UNFINISHED]), ifName, containerId, network].join(' ')
}

/** Reads an ifalias that `formatOwner` wrote; undefined for anything else, which is somebody else's. */
export function parseOwner(alias: string): Owner | undefined {
  const [mark, ...rest] = alias.split(' ')
  const isComplete = rest.length === 3
  const parts = isComplete ? rest : rest.slice(1)
  if (mark !== MARK || parts.length !== 3 || (!isComplete && rest[0] !== UNFINISHED)) return undefined
  const [ifName, containerId, network] = parts
  if (!ifName || !containerId || !network) return undefined
  return { attachment: { network, containerId, ifName }, isComplete }
}
