import type { NativeAddon } from '../../native/addon.ts'
import { REMOVAL_GROUPS } from '../plan/marks.ts'
import { Deadline } from '../time/deadline.ts'
import { NetlinkError } from './netlink-error.ts'
import type { NetlinkRequest, NetlinkSocket } from './netlink-socket.ts'
import * as encode from './rtnetlink-encode.ts'

/** More at once would block each other in the kernel, and threads that others need. */
const MAX_FLIGHTS = 4
/** The kernel lets nobody else change links while it removes a group. */
const MAX_GROUP = 64
/** The kernel waits for all processors before it acknowledges: longer than this it never takes. */
const FLIGHT_TIMEOUT_MS = 30_000

interface Waiting {
  readonly index: number
  readonly settle: (failure?: NetlinkError) => void
}

/** What removing needs of the kernel. */
export interface RemoverEdges {
  readonly addon: Pick<NativeAddon, 'watchDeletedLinks'>
  readonly borrow: () => NetlinkSocket
  readonly giveBack: (socket: NetlinkSocket) => void
}

/**
 * Removes links of the node, many at once.
 *
 * A link is out of the kernel's lists, its routes and neighbours with it, when the kernel multicasts RTM_DELLINK, half a
 * millisecond after the request; the ACK comes 15 to 20 ms later, when every processor has let go of it. So the notification
 * is the answer, and the ACK is one for what the notification missed. While requests are under way those that come are
 * collected, and go as one: put into a group, and the group removed (docs/adr/0009).
 */
export class LinkRemover implements Disposable {
  readonly #edges: RemoverEdges
  readonly #stopWatching: () => void
  readonly #waiting = new Map<number, Set<Waiting>>()
  #queue: Waiting[] = []
  #flights = 0
  #group: number = REMOVAL_GROUPS.first

  /** @throws {NativeError} when the notifications cannot be had. */
  constructor(edges: RemoverEdges) {
    this.#edges = edges
    this.#stopWatching = edges.addon.watchDeletedLinks(index => this.#seeGone(index))
  }

  /**
   * Resolves when the link is seen to be gone.
   *
   * @throws {NetlinkError} ENODEV when there is none; ETIMEDOUT when it was not seen to go in time: it may go later.
   */
  remove(index: number, by: Deadline): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        waiting.settle(failureOf('ETIMEDOUT', { outcomeUnknown: true }))
      }, by.remainingMs())
      const waiting: Waiting = {
        index,
        settle: failure => {
          clearTimeout(timer)
          this.#forget(waiting)
          if (failure === undefined) resolve()
          else reject(failure)
        },
      }
      const others = this.#waiting.get(index) ?? new Set()
      this.#waiting.set(index, others.add(waiting))
      this.#queue.push(waiting)
      this.#fly()
    })
  }

  [Symbol.dispose](): void {
    this.#stopWatching()
  }

  #seeGone(index: number): void {
    for (const waiting of this.#waiting.get(index) ?? []) waiting.settle()
  }

  #forget(waiting: Waiting): void {
    const others = this.#waiting.get(waiting.index)
    others?.delete(waiting)
    if (others?.size === 0) this.#waiting.delete(waiting.index)
    // One that is still to be sent is not sent any more.
    this.#queue = this.#queue.filter(queued => queued !== waiting)
  }

  #fly(): void {
    while (this.#flights < MAX_FLIGHTS && this.#queue.length > 0) {
      const together = this.#queue.splice(0, MAX_GROUP)
      this.#flights += 1
      void this.#removeAll(together).finally(() => {
        this.#flights -= 1
        this.#fly()
      })
    }
  }

  async #removeAll(together: readonly Waiting[]): Promise<void> {
    const by = Deadline.in(FLIGHT_TIMEOUT_MS)
    const socket = this.#edges.borrow()
    try {
      const outcomes = await socket.outcomes(this.#requestsFor(together), by)
      // Of a group the last answer is that of its removal.
      const removal = outcomes.at(-1)
      for (const [at, waiting] of together.entries()) waiting.settle(outcomes[at] ?? removal)
    } catch (cause) {
      const failure = cause instanceof NetlinkError ? cause : failureOf('EIO', { cause, outcomeUnknown: true })
      for (const waiting of together) waiting.settle(failure)
    } finally {
      this.#edges.giveBack(socket)
    }
  }

  #requestsFor(together: readonly Waiting[]): readonly NetlinkRequest[] {
    const [first] = together
    if (first !== undefined && together.length === 1) return [encode.deleteLink(first.index)]
    const group = this.#group
    this.#group = group === REMOVAL_GROUPS.last ? REMOVAL_GROUPS.first : group + 1
    return [...together.map(({ index }) => encode.setGroup(index, group)), encode.deleteGroup(group)]
  }
}

function failureOf(code: string, more: { readonly outcomeUnknown: boolean; readonly cause?: unknown }): NetlinkError {
  return new NetlinkError({ doing: 'removing a link', code, ...more })
}
