import type { Subject } from '../subject.ts'

/** A plugin that is put beside others: how it is made ready, and what is told of it. */
export interface Peer {
  /** Heading of its column. */
  readonly title: string
  /** What exactly it is, with versions. */
  readonly version: string
  /** Makes executables and files ready, in `folder` as far as they are not kept in a cache. */
  readonly subject: (folder: string) => Promise<Subject>
}
