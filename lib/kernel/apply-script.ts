import type { NativeAddon, Performed, Step, SysctlSetting } from '../../native/addon.ts'
import type { AddElements, DeleteElements, Operation, Place } from '../plan/operation.ts'
import type { Deadline } from '../time/deadline.ts'
import type { Batch } from './batches.ts'
import { judgeBatch, type FailedOperation } from './judge-batch.ts'
import { isNativeError } from './native-error.ts'
import { asNetlinkError } from './netlink-answer.ts'
import { NetlinkError } from './netlink-error.ts'
import type { LentSocket, NetlinkRequest, NetlinkSocket } from './netlink-socket.ts'
import { encodeElements } from './nftables-elements.ts'
import { toKernelError } from './to-kernel-error.ts'

/** A batch of which all is known that it takes: it needs no look-up before it. */
export type ReadyBatch =
  | { readonly batch: Batch; readonly at: Place; readonly settings: readonly SysctlSetting[] }
  /** The messages of each operation. */
  | { readonly batch: Batch; readonly at: Place; readonly encoded: readonly (readonly NetlinkRequest[])[] }
  /** One transaction of nf_tables. */
  | { readonly batch: Batch; readonly at: 'host'; readonly elements: AddElements | DeleteElements }

/** Which socket a message goes to. */
type SocketName = Place | 'nftables'

/** Where a script runs. */
export interface ScriptEdges {
  readonly addon: NativeAddon
  readonly socketOf: (name: SocketName) => NetlinkSocket
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

/** True when `operation` was done, false when not, undefined when nobody knows. */
export function isDoneIn({ done, failed }: ScriptEnd, operation: Operation | undefined): boolean | undefined {
  if (operation === undefined || !done.includes(operation)) return false
  return failed?.operation === operation ? undefined : true
}

type LentSockets = ReadonlyMap<SocketName, LentSocket>

/** One after another, and always in this order: two scripts never wait for each other. */
async function withSockets<T>(
  script: readonly ReadyBatch[],
  { socketOf }: ScriptEdges,
  by: Deadline,
  use: (lent: LentSockets) => Promise<T>,
): Promise<T> {
  const options = { by, doing: 'wiring the pod' }
  const used = new Set(script.map(socketNameOf))
  const names = (['host', 'pod', 'nftables'] as const).filter(name => used.has(name))
  const lend = async (lent: LentSockets, [name, ...others]: readonly SocketName[]): Promise<T> => {
    if (name === undefined) return await use(lent)
    return await socketOf(name).lend(socket => lend(new Map([...lent, [name, socket]]), others), options)
  }
  return await lend(new Map(), names)
}

function socketNameOf(ready: ReadyBatch): SocketName | undefined {
  if ('settings' in ready) return undefined
  return 'elements' in ready ? 'nftables' : ready.at
}

interface Prepared {
  readonly ready: ReadyBatch
  readonly step: Step
  /** Reads the answer, and adds to `done` what was done. @returns the first that failed. */
  readonly judge: (answer: Buffer, done: Operation[]) => FailedOperation | undefined
}

function prepare(ready: ReadyBatch, { netnsFdAt }: ScriptEdges, lent: LentSockets): Prepared {
  const nothing = (): undefined => undefined
  if ('settings' in ready) {
    const { settings } = ready
    return { ready, step: { netnsFd: netnsFdAt(ready.at), settings }, judge: nothing }
  }
  const socket = lent.get('elements' in ready ? 'nftables' : ready.at)
  if (socket === undefined) throw new TypeError(`no socket for ${ready.batch[0].do}`)
  const { fd: socketFd } = socket
  if ('encoded' in ready) {
    const { request, lastSeq, outcomes } = socket.prepare(ready.encoded.flat())
    return {
      ready,
      step: { socketFd, request, lastSeq },
      judge: (answer, done) => judgeBatch(ready, outcomes(answer), done),
    }
  }
  const { elements } = ready
  const { request, lastSeq, throwRefusal } = socket.prepareTransaction(encodeElements(elements))
  const judge: Prepared['judge'] = (answer, done) => {
    try {
      throwRefusal(answer)
      done.push(elements)
      return undefined
    } catch (refusal) {
      if (refusal instanceof NetlinkError && refusal.outcomeUnknown) done.push(elements)
      return { operation: elements, cause: toKernelError(refusal, elements) }
    }
  }
  return { ready, step: { socketFd, request, lastSeq }, judge }
}

function endOf(prepared: readonly Prepared[], { answers, failure }: Performed): ScriptEnd {
  const done: Operation[] = []
  for (const [index, answer] of answers.entries()) {
    const step = prepared[index]
    if (step === undefined) break
    if (!Buffer.isBuffer(answer)) done.push(...step.ready.batch)
    else {
      const failed = step.judge(answer, done)
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
