import type { Result, ResultInterface } from '../cni/result.ts'
import type { Address, Family } from '../net/address.ts'
import { parseMac, type Mac } from '../net/mac.ts'
import type { Exposure } from '../plan/exposure.ts'
import type { ObservedInterface } from '../plan/observed.ts'
import type { Plan } from '../plan/operation.ts'
import type { Deadline } from '../time/deadline.ts'

/** Our two interfaces in the result of ADD. */
export interface Made {
  readonly host: ResultInterface
  readonly pod: ResultInterface
  readonly podIndex: number
}

/** What CHECK knows of an attachment when it begins. */
export interface Known {
  readonly made: Made
  readonly prevResult: Result
  readonly by: Deadline
}

/** What has to be there. */
export interface Expectation {
  readonly plan: Plan
  /** In bridge mode, as it is. */
  readonly bridge?: ObservedInterface | undefined
  readonly addresses: readonly Address[]
  readonly exposure: Exposure | undefined
  /** The families that the node forwards for the pod. */
  readonly forwarded: readonly Family[]
  /** What is wrong beside the plan, each as a sentence. */
  readonly alsoWrong: readonly string[]
}

/** The hardware address that a result says an interface has. */
export function resultMac({ mac }: ResultInterface): Mac | undefined {
  return mac === undefined ? undefined : parseMac(mac)
}
