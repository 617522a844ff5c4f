/** The most that may pass in one direction, and how much of it at once. */
export interface RateLimit {
  readonly bitsPerSecond: number
  /** Undefined: chosen from the rate. */
  readonly burstBits?: number
}

/** What a pod may send and be sent; a direction that is absent has no limit. At least one is there. */
export interface Bandwidth {
  readonly toPod?: RateLimit
  readonly fromPod?: RateLimit
}
