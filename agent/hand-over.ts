import { formatPrefix, type Prefix } from '../lib/net/prefix.ts'
import type { Log } from '../lib/log/json-log.ts'
import { Deadline } from '../lib/time/deadline.ts'

const ANSWER_TIMEOUT_MS = 5_000

/** What ipamd made of the pod CIDRs. */
export interface HandOverReport {
  /** Those that ipamd leases from; empty when it has taken none. */
  readonly podCidrs: readonly Prefix[]
  /** Those of earlier times that still have leases. */
  readonly draining: readonly Prefix[]
  /** Why ipamd has not taken them, for a person. */
  readonly failure: string | undefined
}

export interface HandOverOptions {
  /** PUT /v1/pod-cidrs. */
  readonly send: (
    podCidrs: readonly Prefix[],
    by: Deadline,
  ) => Promise<{ readonly podCidrs: readonly Prefix[]; readonly draining: readonly Prefix[] }>
  /** Undefined until they are known. */
  readonly podCidrs: () => readonly Prefix[] | undefined
  readonly log: Log
  readonly onReport: (report: HandOverReport) => void
}

/** Tells ipamd which pod CIDRs this node has, again and again: ipamd may start later, or anew with another store. */
export class HandOver {
  readonly #options: HandOverOptions
  #told: string | undefined

  constructor(options: HandOverOptions) {
    this.#options = options
  }

  /** False when ipamd did not take them. None are never handed over: ipamd keeps those that it has. */
  async pass(): Promise<boolean> {
    const podCidrs = this.#options.podCidrs()
    if (podCidrs === undefined || podCidrs.length === 0) return true
    try {
      const reply = await this.#options.send(podCidrs, Deadline.in(ANSWER_TIMEOUT_MS))
      this.#report({ podCidrs: reply.podCidrs, draining: reply.draining, failure: undefined })
      return true
    } catch (failure) {
      this.#report({ podCidrs: [], draining: [], failure: (failure as Error).message })
      return false
    }
  }

  #report(report: HandOverReport): void {
    const { podCidrs, draining, failure } = report
    const fields = { podCidrs: podCidrs.map(formatPrefix), draining: draining.map(formatPrefix) }
    const text = JSON.stringify([fields, failure])
    if (text !== this.#told) {
      if (failure === undefined) this.#options.log.info('pod CIDRs handed to ipamd', fields)
      else this.#options.log.warn('pod CIDRs not handed to ipamd', { failure })
    }
    this.#told = text
    this.#options.onReport(report)
  }
}
