import { IpamProblem, IpamUnavailable } from '../ipam/errors.ts'
import { DeadlineExceeded } from '../time/deadline.ts'

/** True when ipamd refused, did not answer, or there was no time left to ask it: expected outcomes, not bugs. */
export function isIpamFailure(failure: unknown): failure is Error {
  return failure instanceof IpamUnavailable || failure instanceof IpamProblem || failure instanceof DeadlineExceeded
}
