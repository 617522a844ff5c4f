import type { NativeAddon, Performed, Step, SysctlSetting } from '../../native/addon.ts'
import type { Operation, Place } from '../plan/operation.ts'
import type { Deadline } from '../time/deadline.ts'
import type { Batch } from './batches.ts'
import { judgeBatch, type FailedOperation } from './judge-batch.ts'
import { isNativeError } from './native-error.ts'
import { NetlinkError } from './netlink-error.ts'
import {
  asNetlinkError,
  type LentSocket,
  type NetlinkRequest,
  type NetlinkSocket,
  type Sent,
} from './netlink-socket.ts'
import { toKernelError } from './to-kernel-error.ts'

/** A batch of which all is known that it takes: it needs no look-up before it. */
export type ReadyBatch =
  | { readonly batch: Batch; readonly at: Place; readonly settings: readonly SysctlSetting[] }
  /** The messages of each operation. */
  | { readonly batch: Batch; readonly at: Place; readonly encoded: readonly (readonly NetlinkRequest[])[] }

/** Where a script runs. */
export interface ScriptEdges {
  readonly addon: NativeAddon
  readonly socketAt: (at: Place) => NetlinkSocket
  readonly netnsFdAt: (at: Place) => number
}

/** How a script ended. */
export interface ScriptEnd {
  /** What was done, or may have been, in order. */
  readonly done: readonly Operation[]
  readonly failed?: FailedOperation | undefined
}

/**
 * Does batches one after another in one go on the thread pool, whatever they are and wherever, and begins none after one that failed.
 *
 * @throws nothing that the kernel says: see ScriptEnd.
 */
export async function runScript(script: readonly ReadyBatch[], edges: ScriptEdges, by: Deadline): Promise<ScriptEnd> {
  const [first] = script
  if (first === undefined) return { done: [] }
  try {
    return await withSockets(script, edges, by, async lent => {
      const prepared = script.map(ready => prepare(ready, edges, lent))
      const steps = prepared.map(({ step }) => step)
      return endOf(prepared, await edges.addon.perform(steps, by.remainingMs()))
    })
  } catch (cause) {
    // Its turn did not come in time: nothing was sent.
    return { done: [], failed: { operation: first.batch[0], cause: toKernelError(cause, first.batch[0]) } }
  }
}

type LentSockets = ReadonlyMap<Place, LentSocket>

/** One after another, and always in this order: two scripts never wait for each other. */
async function withSockets<T>(
  script: readonly ReadyBatch[],
  { socketAt }: ScriptEdges,
  by: Deadline,
  use: (lent: LentSockets) => Promise<T>,
): Promise<T> {
  const options = { by, doing: 'wiring the pod' }
  const places = (['host', 'pod'] as const).filter(place => script.some(each => 'encoded' in each && each.at === place))
  const lend = async (lent: LentSockets, [place, ...others]: readonly Place[]): Promise<T> => {
    if (place === undefined) return await use(lent)
    return await socketAt(place).lend(socket => lend(new Map([...lent, [place, socket]]), others), options)
  }
  return await lend(new Map(), places)
}

interface Prepared {
  readonly ready: ReadyBatch
  readonly step: Step
  readonly sent: Sent | undefined
}

function prepare(ready: ReadyBatch, { netnsFdAt }: ScriptEdges, lent: LentSockets): Prepared {
  if ('settings' in ready)
    return { ready, step: { netnsFd: netnsFdAt(ready.at), settings: ready.settings }, sent: undefined }
  const socket = lent.get(ready.at)
  if (socket === undefined) throw new TypeError(`no socket at ${ready.at}`)
  const sent = socket.prepare(ready.encoded.flat())
  return { ready, step: { socketFd: socket.fd, request: sent.request, lastSeq: sent.lastSeq }, sent }
}

function endOf(prepared: readonly Prepared[], { answers, failure }: Performed): ScriptEnd {
  const done: Operation[] = []
  for (const [index, answer] of answers.entries()) {
    const step = prepared[index]
    if (step === undefined) break
    const { ready, sent } = step
    if ('settings' in ready || sent === undefined || !Buffer.isBuffer(answer)) done.push(...ready.batch)
    else {
      const failed = judgeBatch(ready, sent.outcomes(answer), done)
      if (failed !== undefined) return { done, failed }
    }
  }
  const ready = prepared[answers.length]?.ready
  if (failure === undefined || ready === undefined) return { done }
  return 'settings' in ready ? endOfSettings(ready.batch, failure, done) : endOfExchange(ready.batch, failure, done)
}

function endOfSettings(batch: Batch, failure: Error, done: Operation[]): ScriptEnd {
  const refused = isNativeError(failure) ? (failure.index ?? 0) : 0
  const operation = batch[refused] ?? batch[0]
  return {
    done: [...done, ...batch.slice(0, refused)],
    failed: { operation, cause: toKernelError(failure, operation) },
  }
}

/** When the kernel has it and its answer was not seen, all of it may have been done. */
function endOfExchange(batch: Batch, failure: Error, done: Operation[]): ScriptEnd {
  const cause = asNetlinkError(failure, 'wiring the pod')
  const mayExist = cause instanceof NetlinkError && cause.outcomeUnknown ? batch : []
  return { done: [...done, ...mayExist], failed: { operation: batch[0], cause: toKernelError(cause, batch[0]) } }
}
