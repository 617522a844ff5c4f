import { closeSync } from 'node:fs'
import type { NativeAddon, NetnsHandle } from '../../native/addon.ts'
import type { Deadline } from '../time/deadline.ts'
import { LinkRemover } from './link-remover.ts'
import { NETLINK_NETFILTER, OWN_NETNS, NetlinkSocket } from './netlink-socket.ts'
import { RulesetMemory } from './ruleset-memory.ts'
import type { PairIndexes } from './rtnetlink-encode.ts'

/** As many idle sockets of a kind as are kept: more are open only while more work. */
const MAX_IDLE = 8
/** The kernel counts up from 1, and takes any other number that it is asked for. */
const FIRST_INDEX = 0x0100_0000
const INDEX_COUNT = 0x3f00_0000

/** Device and inode of a network namespace. */
export type NetnsIdentity = Omit<NetnsHandle, 'fd'>

/**
 * What the kernels of all attachments share in a daemon: open sockets in the node's namespace, the numbers of new links, and
 * the removal of links.
 */
export class KernelHost implements Disposable {
  readonly #addon: NativeAddon
  readonly #idle = new Map<number, NetlinkSocket[]>()
  readonly #remover: LinkRemover
  /** What of our nftables table is known to be there. */
  readonly rulesets = new RulesetMemory()
  /** Which namespace this process runs in. */
  readonly ownNetns: NetnsIdentity
  #nftReader: NetlinkSocket | undefined
  #nextIndex: number
  #isDisposed = false

  /** @throws {NativeError} */
  constructor(addon: NativeAddon) {
    this.#addon = addon
    const { fd, device, inode } = addon.openOwnNetns()
    closeSync(fd)
    this.ownNetns = { device, inode }
    this.#remover = new LinkRemover({
      addon,
      borrow: () => this.borrow(0),
      giveBack: socket => this.giveBack(0, socket),
    })
    // Another daemon's before this one are avoided as a rule; the kernel refuses a number that is taken.
    this.#nextIndex = FIRST_INDEX + 2 * Math.floor((Math.random() * INDEX_COUNT) / 2)
  }

  /**
   * For single objects of nf_tables: the kernel looks them up without waiting for anybody, faster than a thread of the pool begins.
   */
  get nftReader(): NetlinkSocket {
    this.#nftReader ??= new NetlinkSocket(this.#addon, {
      netnsFd: OWN_NETNS,
      protocol: NETLINK_NETFILTER,
      exchange: 'sync',
    })
    return this.#nftReader
  }

  /** A socket of this netlink protocol in the node's namespace, for the caller alone until it is given back. */
  borrow(protocol: number): NetlinkSocket {
    const idle = this.#idle.get(protocol)?.pop()
    return idle ?? new NetlinkSocket(this.#addon, { netnsFd: OWN_NETNS, protocol, exchange: 'async' })
  }

  /** A request that is still under way does no harm: the next waits for it. */
  giveBack(protocol: number, socket: NetlinkSocket): void {
    const idle = this.#idle.get(protocol) ?? []
    this.#idle.set(protocol, idle)
    if (this.#isDisposed || idle.length >= MAX_IDLE) socket.close()
    else idle.push(socket)
  }

  /** Numbers for both ends of a pair. Two, because ends of one number would not say that they are a pair. */
  nextIndexes(): PairIndexes {
    const host = this.#nextIndex
    this.#nextIndex = FIRST_INDEX + ((host - FIRST_INDEX + 2) % INDEX_COUNT)
    return { host, pod: host + 1 }
  }

  /** Removes a link of the node: see LinkRemover. */
  removeLink(index: number, by: Deadline): Promise<void> {
    return this.#remover.remove(index, by)
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true
    this.#remover[Symbol.dispose]()
    this.#nftReader?.close()
    for (const sockets of this.#idle.values()) for (const socket of sockets.splice(0)) socket.close()
  }
}
