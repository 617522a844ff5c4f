/** What is known about a netlink request that failed. */
export interface NetlinkFailure {
  /** What was asked, for the message: `netlink message type 16`. */
  readonly doing: string
  /** The errno's name: 'EEXIST'. */
  readonly code: string
  /** The kernel's own words (NLMSGERR_ATTR_MSG). */
  readonly extAck?: string | undefined
  /** Which request of a transaction was refused, from 0. */
  readonly requestIndex?: number
  /** True when the request was sent and its answer not seen: it may have been done. */
  readonly outcomeUnknown?: boolean
  readonly cause?: unknown
}

/** A netlink request that the kernel refused, or that got no whole answer. */
export class NetlinkError extends Error {
  override readonly name = 'NetlinkError'
  readonly code: string
  readonly extAck: string | undefined
  /** Which request of a transaction was refused, from 0. Undefined when the whole exchange failed. */
  readonly requestIndex: number | undefined
  /**
   * True when the request was sent and its answer not seen (ETIMEDOUT, ENOBUFS): whoever undoes must assume that it was
   * done. False when it is known that it was refused, or never sent.
   */
  readonly outcomeUnknown: boolean

  constructor(failure: NetlinkFailure) {
    const { doing, code, extAck, cause } = failure
    super(`${doing}: ${code}${extAck === undefined ? '' : `: ${extAck}`}`, cause === undefined ? undefined : { cause })
    this.code = code
    this.extAck = extAck
    this.requestIndex = failure.requestIndex
    this.outcomeUnknown = failure.outcomeUnknown ?? false
  }
}
