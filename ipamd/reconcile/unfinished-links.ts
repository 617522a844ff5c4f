import type { AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { IfName } from '../../lib/net/if-name.ts'
import { hostIfNameOfIfb } from '../../lib/plan/link-names.ts'
import type { ObservedLink } from '../../lib/plan/observed.ts'
import { parseOwner } from '../../lib/plan/owner.ts'
import type { Remembered } from './remember.ts'

/** A host-side link of ours that an ADD began and did not end. */
export interface UnfinishedLink {
  readonly key: string
  readonly name: IfName
  readonly index: number
  /** Undefined when ADD was killed before it could write the alias. */
  readonly attachment: AttachmentKey | undefined
}

/**
 * The links that an ADD has not ended (ADR 3): the alias says "adding", or there is none yet. A link whose alias can't be read
 * is not one of them: somebody edited the text, or a newer version wrote it.
 */
export function unfinishedLinks(ownLinks: readonly ObservedLink[]): readonly UnfinishedLink[] {
  return ownLinks.flatMap(({ name, index, alias }) => {
    const owner = alias === undefined ? undefined : parseOwner(alias)
    const isUnfinished = alias === undefined || owner?.isComplete === false
    // The index tells a link from a later one of the same name, which an ADD made anew.
    return isUnfinished ? [{ key: `${index} ${name} ${alias ?? ''}`, name, index, attachment: owner?.attachment }] : []
  })
}

/**
 * The links through which packets of pods were led to be shaped, and whose pods are gone: an ifb does not go with the pod's
 * namespace. Those that an ADD made and did not get to use are among them, once its interface is removed.
 */
export function orphanedIfbs(
  ownIfbs: readonly ObservedLink[],
  hasLink: (hostIfName: IfName) => boolean,
): readonly UnfinishedLink[] {
  return ownIfbs.flatMap(({ name, index, alias }) => {
    const hostIfName = hostIfNameOfIfb(name)
    if (hostIfName === undefined || hasLink(hostIfName)) return []
    const owner = alias === undefined ? undefined : parseOwner(alias)
    return [{ key: `${index} ${name} ${alias ?? ''}`, name, index, attachment: owner?.attachment }]
  })
}

export type SeenUnfinishedLink = UnfinishedLink & Remembered
