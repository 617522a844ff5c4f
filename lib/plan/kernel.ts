import type { Address } from '../net/address.ts'
import type { IfName } from '../net/if-name.ts'
import type { ObservedInterface, ObservedLink, ObservedShaping, OwnRoute } from './observed.ts'
import type { Operation, Place, Plan } from './operation.ts'
import { renderOperation } from './render.ts'
import type { Ruleset } from './ruleset.ts'
import type { ObservedElement, SetDefinition } from './nft-set.ts'
import type { AttachmentKey } from '../ipam/attachment.ts'
import type { Prefix } from '../net/prefix.ts'
import type { Deadline } from '../time/deadline.ts'

/**
 * The running kernel, as one attachment sees it: the node's network namespace and, where the pod's still exists, the
 * pod's. The only way in this code base to see or change network state.
 *
 * Every method ends by its deadline, and fails with a KernelError that keeps the kernel's errno.
 */
export interface Kernel extends Disposable {
  /** False when there is no pod namespace to look into: everything at 'pod' then fails with ENOENT. */
  readonly hasPod: boolean

  /** True when the pod's namespace is the one that this process runs in. */
  readonly podIsHost: boolean

  /** Performs one operation. @throws {KernelError} with the kernel's errno, e.g. 'EEXIST'. */
  apply(operation: Operation, by: Deadline): Promise<void>

  /**
   * Performs the operations in their order, several in one message to the kernel where that can be. After the first that fails
   * none begins that was not already sent with it.
   *
   * @throws {PlanError}
   */
  applyAll(plan: Plan, by: Deadline): Promise<void>

  /** Reads a link with its addresses, its routes in the main table and its neighbours; undefined when it is not there. */
  observeInterface(at: Place, name: IfName, by: Deadline): Promise<ObservedInterface | undefined>

  /** Reads a link alone; undefined when it is not there. */
  observeLink(at: Place, name: IfName, by: Deadline): Promise<ObservedLink | undefined>

  /** Every veth of the host that is in our link group. */
  observeOwnLinks(by: Deadline): Promise<readonly ObservedLink[]>

  /** Every link of the host that is in our link group and of the kind ifb: it is no sign that its pod lives. */
  observeOwnIfbs(by: Deadline): Promise<readonly ObservedLink[]>

  /** Reads how packets of a link of the host are shaped; nothing of one that is not there. */
  observeShaping(name: IfName, by: Deadline): Promise<ObservedShaping>

  /** Every route of the host's main table that has our route protocol. */
  observeOwnRoutes(by: Deadline): Promise<readonly OwnRoute[]>

  /** The host's link through which packets to `address` leave; undefined when nothing leads there. */
  observeLinkTowards(address: Address, by: Deadline): Promise<ObservedLink | undefined>

  /** The host's links that have a route learnt from an IPv6 router advertisement. */
  observeRouterAdvertisementLinks(by: Deadline): Promise<readonly ObservedLink[]>

  /** Reads a setting below /proc/sys as seen at `at`; undefined when the kernel does not have it. */
  readSysctl(at: Place, key: string): string | undefined

  /** True when our nftables table holds the sets of `ruleset`, and exactly its rules in its chains. */
  hasRuleset(ruleset: Ruleset, by: Deadline): Promise<boolean>

  /**
   * Makes our nftables table hold exactly the rules of `ruleset` in its chains, in one transaction. Elements and other chains
   * stay; a set with other keys than it should have is made anew, without elements. Touches no other table.
   */
  replaceRuleset(ruleset: Ruleset, by: Deadline): Promise<void>

  /** A number that changes with every change of any nftables table of the node. */
  observeNftGeneration(by: Deadline): Promise<number>

  /** The elements of one attachment, or of all, in our nftables table; none where there is no table. */
  observeElements(of: AttachmentKey | 'all', by: Deadline): Promise<readonly ObservedElement[]>

  /** The elements of these sets, whoever they belong to; none of a set that is not there. */
  observeSets(sets: readonly SetDefinition[], by: Deadline): Promise<readonly ObservedElement[]>

  /**
   * Makes an interval set hold exactly `prefixes`, in one transaction. @returns False when it did already.
   *
   * @throws {KernelError} 'ENOENT' when the set is not there.
   */
  ensureSetContent(set: SetDefinition, prefixes: readonly Prefix[], by: Deadline): Promise<boolean>
}

/** The kernel refused an operation, or did not answer in time. The message is a command that can be typed again. */
export class KernelError extends Error {
  override readonly name = 'KernelError'
  /** The name of the error number, e.g. 'EEXIST'. */
  readonly errno: string
  readonly operation: Operation | undefined
  /** True when the kernel may have done it all the same: the request was sent and its answer not seen. */
  readonly outcomeUnknown: boolean

  constructor(doing: Operation | string, errno: string, options: KernelErrorOptions = {}) {
    const what = typeof doing === 'string' ? doing : renderOperation(doing)
    super(`${what}: ${errno}${options.detail ? ` (${options.detail})` : ''}`, options)
    this.errno = errno
    this.operation = typeof doing === 'string' ? undefined : doing
    this.outcomeUnknown = options.outcomeUnknown ?? false
  }
}

/** One of several operations failed. `cause` is its failure. */
export class PlanError extends Error {
  override readonly name = 'PlanError'
  override readonly cause: unknown
  readonly operation: Operation
  /** Those of the plan that were done, or may have been, in its order: what there is to undo. */
  readonly mayExist: Plan

  constructor(operation: Operation, cause: unknown, mayExist: Plan) {
    super(cause instanceof Error ? cause.message : String(cause))
    this.operation = operation
    this.cause = cause
    this.mayExist = mayExist
  }
}

/** What else is known about a KernelError. */
export interface KernelErrorOptions extends ErrorOptions {
  /** The kernel's own words (extended ACK). */
  readonly detail?: string | undefined
  readonly outcomeUnknown?: boolean
}

/** True when `error` is the kernel's answer `errno`. */
export function isErrno(error: unknown, ...errnos: readonly string[]): error is KernelError {
  return error instanceof KernelError && errnos.includes(error.errno)
}
