import { attachmentKeyText, type AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { Deadline } from '../../lib/time/deadline.ts'
import { Gate } from './gate.ts'

/**
 * One at a time for each attachment, in the order in which they came: an ADD and a DEL of one container never mix.
 *
 * It stands before the lock that all processes of the node share. Whoever waits there asks again and again; here nobody does.
 */
export class AttachmentTurns {
  readonly #gates = new Map<string, { readonly gate: Gate; users: number }>()

  /**
   * Waits for the attachment's turn, then takes `lock`. Disposing ends both.
   *
   * @throws {DeadlineExceeded} when the turn does not come in time. @throws what `lock` throws.
   */
  async take(attachment: AttachmentKey, lock: () => Promise<Disposable>, by: Deadline): Promise<Disposable> {
    const key = attachmentKeyText(attachment)
    const entry = this.#gates.get(key) ?? { gate: new Gate(1), users: 0 }
    this.#gates.set(key, entry)
    entry.users += 1
    const { promise: ended, resolve: end } = Promise.withResolvers<void>()
    const { promise: taken, resolve, reject } = Promise.withResolvers<Disposable>()
    const turn = entry.gate.pass(async () => {
      const held = await lock()
      resolve({
        [Symbol.dispose]() {
          try {
            held[Symbol.dispose]()
          } finally {
            end()
          }
        },
      })
      await ended
    }, by)
    turn.catch(reject).finally(() => {
      entry.users -= 1
      if (entry.users === 0) this.#gates.delete(key)
    })
    return taken
  }
}
