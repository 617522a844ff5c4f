import { KernelError } from '../plan/kernel.ts'
import type { Operation } from '../plan/operation.ts'
import { DeadlineExceeded } from '../time/deadline.ts'
import { isNativeError } from './native-error.ts'
import { NetlinkError } from './netlink-error.ts'

/** Failures that carry an errno become KernelErrors; deadlines and bugs pass as they are. */
export function toKernelError(cause: unknown, doing: Operation | string): unknown {
  if (cause instanceof KernelError || cause instanceof DeadlineExceeded) return cause
  if (cause instanceof NetlinkError) {
    return new KernelError(doing, cause.code, { cause, detail: cause.extAck, outcomeUnknown: cause.outcomeUnknown })
  }
  if (isNativeError(cause)) return new KernelError(doing, cause.code, { cause })
  return cause
}
