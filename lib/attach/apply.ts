import { isErrno, PlanError, type Kernel } from '../plan/kernel.ts'
import type { Operation, Plan } from '../plan/operation.ts'
import { undoOf } from '../plan/undo.ts'
import { messageOf } from './message.ts'
import { DeadlineExceeded, type Deadline } from '../time/deadline.ts'

/** What undoing gets beyond the deadline that the plan ran into, in milliseconds. */
const UNDO_GRACE_MS = 5_000

/** An operation failed and the plan was undone. The cause is the operation's own failure. */
export class ApplyError extends Error {
  override readonly name = 'ApplyError'
  override readonly cause: unknown
  /** What could not be undone; empty when nothing is left. */
  readonly leftovers: readonly unknown[]

  constructor(operation: Operation, cause: unknown, leftovers: readonly unknown[]) {
    const first = messageOf(cause)
    super(leftovers.length === 0 ? first : `${first}; not undone: ${leftovers.map(messageOf).join('; ')}`)
    this.cause = cause instanceof DeadlineExceeded ? new DeadlineExceeded(`${operation.do}: ${cause.doing}`) : cause
    this.leftovers = leftovers
  }
}

/**
 * Applies `plan` in order. On failure undoes what was done, newest first, and throws the first cause (checklist A9).
 *
 * No operation starts after the deadline (DESIGN: never two actors on one pod).
 *
 * @throws {ApplyError}
 */
export async function applyOrUndo(kernel: Kernel, plan: Plan, by: Deadline): Promise<void> {
  try {
    await kernel.applyAll(plan, by)
  } catch (failure) {
    if (!(failure instanceof PlanError)) throw failure
    const { operation, cause, mayExist } = failure
    throw new ApplyError(operation, cause, await undo(kernel, mayExist, by.extended(UNDO_GRACE_MS)))
  }
}

/** Undoes `plan`, newest first. What is gone already is undone; every step is tried. @returns The failures. */
async function undo(kernel: Kernel, plan: Plan, by: Deadline): Promise<readonly unknown[]> {
  const failures: unknown[] = []
  for (const inverse of undoOf(plan)) {
    try {
      await kernel.apply(inverse, by)
    } catch (failure) {
      if (!isGone(failure)) failures.push(failure)
    }
  }
  return failures
}

/** True when the kernel says that what was to be removed is not there. */
export function isGone(failure: unknown): boolean {
  return isErrno(failure, 'ENODEV', 'ENOENT', 'ESRCH', 'EADDRNOTAVAIL')
}
