import { IpamProblem } from '../lib/ipam/errors.ts'
import { formatPrefix, type Prefix } from '../lib/net/prefix.ts'
import { Deadline } from '../lib/time/deadline.ts'

export interface BlockEdges {
  /**
   * Called for a block before the first address of it is answered, and again after a failure: it must be idempotent. It
   * keeps the deadline.
   */
  readonly onBlockTaken: (block: Prefix, by: Deadline) => Promise<void>
  /**
   * Called after a block was given back, and again after a failure: it must be idempotent. It keeps the deadline. The block is
   * not taken again before it has ended.
   */
  readonly onBlockReturned: (block: Prefix, by: Deadline) => Promise<void>
}

/** A block that was given back. */
interface LeftBlock {
  readonly prefix: Prefix
  /** The call of onBlockReturned that runs, or ran last. */
  attempt: Promise<void> | undefined
}

/** How long the node may take to be made ready for a block, or to forget one. Well below the idle time of the server. */
export const BLOCK_TIMEOUT_MS = 2000

/** Makes the node ready for the blocks that it takes, and clears up behind those that it gives back. */
export class BlockReadiness {
  readonly #edges: BlockEdges
  readonly #ready = new Map<string, Promise<void>>()
  /** Blocks that were given back, until onBlockReturned has succeeded. */
  readonly #left = new Map<string, LeftBlock>()

  constructor(edges: BlockEdges) {
    this.#edges = edges
  }

  /** Resolves when the node is ready for the block. @throws {IpamProblem} busy. */
  whenReady(block: Prefix): Promise<void> {
    const key = formatPrefix(block)
    const known = this.#ready.get(key)
    if (known !== undefined) return known
    const taken = this.#stay(key).then(() => this.#edges.onBlockTaken(block, Deadline.in(BLOCK_TIMEOUT_MS)))
    const ready = taken.catch((cause: unknown) => {
      // Forgotten, so that the next request for the block tries again. The lease stays: its owner asks again or lets go.
      this.#ready.delete(key)
      throw new IpamProblem('busy', `block ${key} is not ready: ${(cause as Error).message}`, { cause })
    })
    this.#ready.set(key, ready)
    return ready
  }

  /** Has to be called as soon as blocks were given back. */
  forget(returned: readonly Prefix[]): void {
    for (const prefix of returned) {
      this.#ready.delete(formatPrefix(prefix))
      this.#left.set(formatPrefix(prefix), { prefix, attempt: undefined })
    }
  }

  /** Clears up behind all blocks that were given back. @throws the first failure; the next call tries it again. */
  async clearUp(): Promise<void> {
    await Promise.all([...this.#left.values()].map(left => this.#leave(left)))
  }

  #leave(left: LeftBlock): Promise<void> {
    const key = formatPrefix(left.prefix)
    left.attempt = this.#edges.onBlockReturned(left.prefix, Deadline.in(BLOCK_TIMEOUT_MS)).then(() => {
      if (this.#left.get(key) === left) this.#left.delete(key)
    })
    return left.attempt
  }

  /** Ends the leaving of a block that the node has again. */
  async #stay(key: string): Promise<void> {
    const attempt = this.#left.get(key)?.attempt
    this.#left.delete(key)
    // How it ended does not matter: onBlockTaken comes after it, and makes the block ready from whatever is there.
    await attempt?.catch(() => {})
  }
}
