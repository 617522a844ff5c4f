/** Error codes of the CNI specification (1.1.0, section 5, "Error"), and ours from 100. */
export const ErrorCode = {
  /** The configuration's cniVersion is not supported. */
  incompatibleVersion: 1,
  /** A field has a value that this version does not support. The message has the key and the value. */
  unsupportedField: 2,
  /** The container is unknown, and the runtime need not call DEL: never use it once anything was made. */
  unknownContainer: 3,
  /** A CNI_* variable is missing or invalid. The message has the names. */
  invalidEnvironment: 4,
  /** Input could not be read, or output not written. */
  io: 5,
  /** Input is not what its format says: no JSON, no version, no result. */
  decode: 6,
  /** The network configuration fails validation. */
  invalidConfig: 7,
  /** CNI_NETNS is not a network namespace, or is the plugin's own. (In the reference library, not in the specification.) */
  invalidNetns: 8,
  /** A condition that passes: the runtime should try again. */
  tryAgainLater: 11,
  /** STATUS: no ADD can succeed now. */
  notAvailable: 50,
  /** STATUS: no ADD can succeed now, and containers that run may have lost connectivity. */
  notAvailableLimited: 51,
  /** No free address is left in the pool. */
  poolExhausted: 101,
  /** The kernel refused an operation. The message has the operation as ip(8) text, and the errno. */
  kernel: 102,
  /** The interface to be made exists already in the namespace. */
  interfaceExists: 103,
  /** The IPAM plugin or ipamd failed, or gave an answer that cannot be used. */
  ipamFailed: 104,
  /** DEL tried every step, and at least one did not succeed: something may be left. */
  delIncomplete: 105,
  /** CHECK found something that is no longer as ADD made it. The message has the first problem, details have all. */
  checkFailed: 106,
  /** A port of the node that the pod wants is another attachment's. The message has the port and whose it is. */
  portTaken: 107,
  /** A bug: no other code fits. */
  internal: 999,
} as const

/** A failure as the CNI protocol reports it. `message` becomes "msg", `details` is for the log reader. */
export class CniError extends Error {
  override readonly name = 'CniError'
  readonly code: number
  readonly details?: string

  constructor(code: number, msg: string, options: { readonly details?: string; readonly cause?: unknown } = {}) {
    super(msg, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    if (options.details !== undefined) this.details = options.details
  }
}

/** Renders the error document for standard output: one line of JSON without a line end (checklist O3). */
export function renderCniError(error: CniError, cniVersion: string): string {
  const { code, message, details } = error
  return JSON.stringify({ cniVersion, code, msg: message, ...(details ? { details } : {}) })
}
