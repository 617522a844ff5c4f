import { CniError, ErrorCode } from '../cni/errors.ts'
import { IpamProblem, IpamUnavailable, type ProblemType } from '../ipam/errors.ts'
import { ParseError } from '../net/parse-error.ts'
import { KernelError } from '../plan/kernel.ts'
import { DeadlineExceeded } from '../time/deadline.ts'
import { ApplyError } from './apply.ts'
import { NetnsError } from './edges.ts'

const PROBLEM_CODES: Partial<Record<ProblemType, number>> = {
  'pool-exhausted': ErrorCode.poolExhausted,
  'unknown-pool': ErrorCode.invalidConfig,
  'bad-address': ErrorCode.invalidConfig,
  'address-cooling': ErrorCode.tryAgainLater,
  'not-available-yet': ErrorCode.tryAgainLater,
  busy: ErrorCode.tryAgainLater,
  'deadline-passed': ErrorCode.tryAgainLater,
}

/**
 * Any failure as a CNI error (SPEC 1.1.0, section 5, "Error"). Only here do codes meet the layers below.
 *
 * What nobody expected becomes 999: a bug, with the stack in the details for the person who has to find it.
 */
export function toCniError(failure: unknown): CniError {
  if (failure instanceof CniError) return failure
  if (failure instanceof ApplyError) return new CniError(codeOf(failure.cause), failure.message, { cause: failure })
  if (failure instanceof Error && codeOf(failure) !== ErrorCode.internal) {
    return new CniError(codeOf(failure), failure.message, { cause: failure })
  }
  const message = failure instanceof Error ? failure.message : String(failure)
  const details = failure instanceof Error ? failure.stack : undefined
  return new CniError(ErrorCode.internal, message, { cause: failure, ...(details === undefined ? {} : { details }) })
}

function codeOf(failure: unknown): number {
  if (failure instanceof CniError) return failure.code
  if (failure instanceof ParseError) return ErrorCode.invalidConfig
  if (failure instanceof KernelError) return ErrorCode.kernel
  if (failure instanceof NetnsError) return ErrorCode.invalidNetns
  if (failure instanceof IpamUnavailable || failure instanceof DeadlineExceeded) return ErrorCode.tryAgainLater
  if (failure instanceof IpamProblem) return PROBLEM_CODES[failure.type] ?? ErrorCode.ipamFailed
  return ErrorCode.internal
}
