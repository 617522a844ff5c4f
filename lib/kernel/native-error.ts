import type { NativeError } from '../../native/addon.ts'

/** True for what the native addon throws when the kernel refuses: an errno's name and the system call that failed. */
export function isNativeError(error: unknown): error is NativeError {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && 'syscall' in error
}
