import type { JsonObject } from '../e2e/netns/harness/json.ts'

/** A plugin chain under test, and all that the suite may know of it. */
export interface Subject {
  /** For reports. */
  readonly name: string
  /** The content of a conflist. The first plugin of the list is the one under test. */
  readonly conflist: JsonObject
  /** Folders with plugin executables, searched in order. */
  readonly cniPath: readonly string[]
  /** Environment of the plugins beside CNI_*, and of `setup`. */
  readonly env: Readonly<Record<string, string>>
  /** A command line for sh(1) that prepares a fresh node; a daemon that it leaves running belongs to the node. */
  readonly setup?: string
  /** Folders in which the plugin keeps state: what it leaves there is looked at, and they are emptied with the node. */
  readonly stateFolders: readonly string[]
  /** Paths in these folders that are of no attachment, such as logs and counters: they are no leak. */
  readonly ignoredFiles?: RegExp
  /** The interface name that attachments get: `eth0` when absent. A loopback plugin knows `lo` only. */
  readonly ifName?: string
  /** Address families that an attachment is to get; nothing is asked about them when absent. */
  readonly families?: readonly Family[]
  /** Folders with the reference plugins tuning, portmap, bandwidth and sbr. */
  readonly referencePath: readonly string[]
  /** The same network with so few addresses that a check can use them up. */
  readonly exhaustible?: { readonly conflist: JsonObject; readonly addresses: number }
  /** A command line for sh(1) that takes away what ADD depends on, such as a daemon; the node is thrown away afterwards. */
  readonly outage?: string
}

export type Family = 'ipv4' | 'ipv6'
