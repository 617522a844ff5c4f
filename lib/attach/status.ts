import { CniError, ErrorCode } from '../cni/errors.ts'
import type { Deadline } from '../time/deadline.ts'
import { addressSource } from './address-source.ts'
import type { Call } from './call.ts'
import type { Edges } from './edges.ts'
import { isIpamFailure } from './ipam-failure.ts'

/**
 * Tells whether an ADD could succeed now (SPEC 1.1.0, section 2, STATUS; checklist S1–S4): a daemon that is down and a pool
 * without a free address both mean that it could not.
 *
 * @throws {CniError} code 50 with the reason.
 */
export async function status(call: Call, edges: Edges, by: Deadline): Promise<void> {
  try {
    await addressSource(call, edges).status(call, by)
  } catch (failure) {
    if (!isIpamFailure(failure)) throw failure
    throw new CniError(ErrorCode.notAvailable, failure.message, { cause: failure })
  }
}
