import type { Operation } from '../plan/operation.ts'
import type { Batch } from './batches.ts'
import type { NetlinkError } from './netlink-error.ts'
import type { NetlinkRequest } from './netlink-socket.ts'
import { toKernelError } from './to-kernel-error.ts'

/** The first operation that failed, with its failure. */
export interface FailedOperation {
  readonly operation: Operation
  readonly cause: unknown
}

/** A batch with the messages of each of its operations. */
export interface EncodedBatch {
  readonly batch: Batch
  readonly encoded: readonly (readonly NetlinkRequest[])[]
}

/**
 * Says how the operations of a batch ended, from how its messages did. The kernel goes on after a refusal: what was done is what was
 * not refused, and is added to `done`.
 *
 * @returns the first that failed.
 */
export function judgeBatch(
  { batch, encoded }: EncodedBatch,
  outcomes: readonly (NetlinkError | undefined)[],
  done: Operation[],
): FailedOperation | undefined {
  let failed: FailedOperation | undefined
  let at = 0
  for (const [index, operation] of batch.entries()) {
    const own = outcomes.slice(at, (at += encoded[index]?.length ?? 0))
    const refusal = own.find(outcome => outcome !== undefined)
    if (refusal === undefined || refusal.outcomeUnknown) done.push(operation)
    if (refusal !== undefined) failed ??= { operation, cause: toKernelError(refusal, operation) }
  }
  return failed
}
