import type { Family } from '../lib/net/address.ts'
import type { Prefix } from '../lib/net/prefix.ts'
import type { Log } from '../lib/log/json-log.ts'
import { CLUSTER_PREFIXES } from '../lib/plan/exposure-ruleset.ts'
import { isErrno, type Kernel } from '../lib/plan/kernel.ts'
import type { Ruleset } from '../lib/plan/ruleset.ts'
import { Deadline } from '../lib/time/deadline.ts'

const FAMILIES: readonly Family[] = [4, 6]
const PASS_TIMEOUT_MS = 10_000
/** The sets are looked at again after so long though the kernel tells of no change. */
const RECHECK_MS = 30_000

/** The sets alone: the rules that read them come with the first pod that wants masquerade. */
const SETS: Ruleset = { sets: FAMILIES.map(family => CLUSTER_PREFIXES[family]), chains: [] }

export interface MasqueradeOptions {
  readonly openKernel: () => Kernel
  /** Where packets of pods keep their source; undefined until the cluster is known. */
  readonly exempt: () => readonly Prefix[] | undefined
  readonly log: Log
  /** Called after each look at which the sets were, or were made, as they should be. */
  readonly onTold: () => void
}

/**
 * Tells the rules of masquerade where the cluster is: packets of pods to other nodes and their pods keep their source.
 *
 * The sets are there before the first pod is: a connection that it begins at once would be translated, and stay so. What
 * somebody flushes is put back at the next look.
 */
export class Masquerade implements Disposable {
  readonly #options: MasqueradeOptions
  #kernel: Kernel | undefined
  /** What the sets hold, at which of the kernel's changes that was seen, and until when it is believed. */
  #well: { readonly exempt: readonly Prefix[]; readonly generation: number; readonly untilMs: number } | undefined

  constructor(options: MasqueradeOptions) {
    this.#options = options
  }

  /** One look. It costs one question to the kernel while no table was changed. @throws {KernelError} when the kernel refuses. */
  async pass(): Promise<boolean> {
    const exempt = this.#options.exempt()
    if (exempt === undefined) return true
    const kernel = (this.#kernel ??= this.#options.openKernel())
    try {
      await this.#tell(kernel, exempt)
    } catch (failure) {
      // A socket that has lost an answer is not asked again.
      this[Symbol.dispose]()
      throw failure
    }
    this.#options.onTold()
    return true
  }

  [Symbol.dispose](): void {
    this.#kernel?.[Symbol.dispose]()
    this.#kernel = undefined
    this.#well = undefined
  }

  async #tell(kernel: Kernel, exempt: readonly Prefix[]): Promise<void> {
    const by = Deadline.in(PASS_TIMEOUT_MS)
    const generation = await kernel.observeNftGeneration(by)
    const well = this.#well
    if (well?.exempt === exempt && well.generation === generation && performance.now() < well.untilMs) return
    this.#well = undefined
    let isChanged = false
    for (const family of FAMILIES) {
      const prefixes = exempt.filter(({ address }) => address.family === family)
      if (!(await ensure(kernel, family, prefixes, by))) continue
      isChanged = true
      this.#options.log.info('masquerade knows the cluster', { family, prefixes: prefixes.length })
    }
    // What we changed ourselves has another number: the next look finds it.
    if (!isChanged) this.#well = { exempt, generation, untilMs: performance.now() + RECHECK_MS }
  }
}

/** @returns whether something was changed. */
async function ensure(kernel: Kernel, family: Family, prefixes: readonly Prefix[], by: Deadline): Promise<boolean> {
  try {
    return await kernel.ensureSetContent(CLUSTER_PREFIXES[family], prefixes, by)
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
    await kernel.replaceRuleset(SETS, by)
    return await kernel.ensureSetContent(CLUSTER_PREFIXES[family], prefixes, by)
  }
}
