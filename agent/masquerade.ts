import type { Family } from '../lib/net/address.ts'
import type { Prefix } from '../lib/net/prefix.ts'
import type { Log } from '../lib/log/json-log.ts'
import { CLUSTER_PREFIXES } from '../lib/plan/exposure-ruleset.ts'
import { isErrno, type Kernel } from '../lib/plan/kernel.ts'
import { Deadline } from '../lib/time/deadline.ts'

const FAMILIES: readonly Family[] = [4, 6]
const PASS_TIMEOUT_MS = 10_000
/** What is in a set that we have filled is looked at again after so long: somebody may have changed it. */
const RECHECK_MS = 30_000

export interface MasqueradeOptions {
  readonly openKernel: () => Kernel
  /** Where packets of pods keep their source; undefined until the cluster is known. */
  readonly exempt: () => readonly Prefix[] | undefined
  readonly log: Log
}

/**
 * Tells the rules of masquerade where the cluster is: packets of pods to other nodes and their pods keep their source. The sets
 * are there from the first pod on that wants masquerade; until then there is nothing to do.
 */
export class Masquerade {
  readonly #options: MasqueradeOptions
  /** What was put into the sets, and until when that is believed; undefined when there are none. */
  #done: { readonly exempt: readonly Prefix[]; readonly untilMs: number } | undefined

  constructor(options: MasqueradeOptions) {
    this.#options = options
  }

  /** One look. @throws {KernelError} when the kernel refuses. */
  async pass(): Promise<boolean> {
    const exempt = this.#options.exempt()
    if (exempt === undefined) return true
    const done = this.#done
    if (done !== undefined && done.exempt === exempt && performance.now() < done.untilMs) return true
    using kernel = this.#options.openKernel()
    const by = Deadline.in(PASS_TIMEOUT_MS)
    this.#done = undefined
    for (const family of FAMILIES) {
      const prefixes = exempt.filter(({ address }) => address.family === family)
      try {
        const isNew = await kernel.ensureSetContent(CLUSTER_PREFIXES[family], prefixes, by)
        if (isNew) this.#options.log.info('masquerade knows the cluster', { family, prefixes: prefixes.length })
      } catch (error) {
        if (isErrno(error, 'ENOENT')) return true
        throw error
      }
    }
    this.#done = { exempt, untilMs: performance.now() + RECHECK_MS }
    return true
  }
}
