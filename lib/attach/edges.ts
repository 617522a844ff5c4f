import type { AttachmentKey } from '../ipam/attachment.ts'
import type { Lease } from '../ipam/lease.ts'
import type { AllocateReply, AllocateRequest, CollectReply, CollectRequest, ReleaseRequest } from '../ipam/protocol.ts'
import type { SpoolEntry } from '../ipam/spool-entry.ts'
import type { Exposure } from '../plan/exposure.ts'
import type { Kernel } from '../plan/kernel.ts'
import type { Deadline } from '../time/deadline.ts'
import type { Call } from './call.ts'

/** ipamd, as a plugin uses it. Refusals are IpamProblem, a daemon that does not answer is IpamUnavailable. */
export interface Ipam {
  allocate(request: AllocateRequest, by: Deadline): Promise<Leasing>
  /** @returns False when the attachment had no lease. */
  release(request: ReleaseRequest, by: Deadline): Promise<boolean>
  collect(request: CollectRequest, by: Deadline): Promise<CollectReply>
  find(attachment: AttachmentKey, by: Deadline): Promise<Lease | undefined>
  /** Resolves when an ADD could get an address now; otherwise fails with the reason. */
  status(pool: string | undefined, by: Deadline): Promise<void>
}

/** A lease that survives the end of every process, ipamd's among them. */
export interface Leasing extends AllocateReply {
  /** Resolves when it would survive a loss of power as well: ADD does not answer before (invariant 2). @throws {IpamProblem} */
  readonly whenDurable: () => Promise<void>
}

/** A run of another plugin, found in CNI_PATH, on our behalf (SPEC 1.1.0, section 4). */
export interface DelegateCall {
  readonly type: string
  readonly command: 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS'
  readonly cniPath: readonly string[]
  /** What the plugin reads on its standard input. */
  readonly configuration: string
}

/** Everything that the engine touches outside itself. Both hosts, the executable and the daemon, bring their own. */
export interface Edges {
  /** Called before anything else is done for a call. @throws {Declined} when this host cannot do it. Absent: it does all. */
  admit?(call: Call): void
  /**
   * @throws {NetnsError} when `podNetnsPath` cannot be opened as a network namespace.
   * @throws {Declined} when it is another one here than where the call comes from.
   */
  openKernel(podNetnsPath?: string): Kernel
  ipam(socketPath: string): Ipam
  /** Runs a plugin and returns its standard output. @throws {CniError} what the plugin reported, or why it could not run. */
  delegate(call: DelegateCall, by: Deadline): Promise<string>
  /** Takes the attachment's lock: of all processes of the node, one at a time acts on an attachment. */
  lock(attachment: AttachmentKey, by: Deadline): Promise<Disposable>
  /** Keeps a release durably until ipamd can be told (checklist R13). Returns when it would survive a loss of power. */
  spoolRelease(socketPath: string, entry: SpoolEntry): void
  /** Keeps what a pod has in nftables until its end, so that ipamd can repair it. */
  keepExposure(exposure: Exposure): void
  /** Drops what is kept of an attachment; nothing is fine. */
  dropExposure(attachment: AttachmentKey): void
  nowUnixMs(): number
  /** One line for the log. */
  log(line: string): void
}

/** The pod's namespace cannot be used: it does not exist, or the path is something else. */
export class NetnsError extends Error {
  override readonly name = 'NetnsError'
  readonly path: string

  constructor(path: string, options: ErrorOptions & { readonly reason: string }) {
    super(`network namespace ${path}: ${options.reason}`, options)
    this.path = path
  }
}

/** This host of the engine cannot do the call and has changed nothing: another host has to do it. Never becomes an answer. */
export class Declined extends Error {
  override readonly name = 'Declined'
  /** Lower case letters and hyphens, at most 32: it goes into a header and a label. */
  readonly reason: string

  constructor(reason: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.reason = reason
  }
}
