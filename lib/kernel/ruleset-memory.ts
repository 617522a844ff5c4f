import { renderRuleset, type Ruleset } from '../plan/ruleset.ts'
import { NetlinkError } from './netlink-error.ts'

/** More are there only where masquerading was configured in as many ways. */
const MAX_KNOWN = 64
const LAST_GENERATION = 0xffff_ffff

/** How the kernel is looked at. */
export interface RulesetLook {
  /** The number that every change of nftables in the namespace raises by one. */
  readonly generation: () => Promise<number>
  /** Compares the ruleset with what the kernel has. */
  readonly compare: () => Promise<boolean>
}

/**
 * Which rulesets the kernel was seen to have, so that a daemon need not compare them for each pod.
 *
 * What was seen holds for one generation of nftables: a number that the kernel raises with each change, whoever makes it. Our own
 * changes of elements, which change no rule, are counted along. While one is under way the generation says nothing, and the
 * rulesets are compared.
 */
export class RulesetMemory {
  #generation: number | undefined
  #known = new Set<string>()
  readonly #texts = new WeakMap<Ruleset, string>()
  #underWay = 0
  #begun = 0

  /** True when the kernel has `ruleset`. @throws what `look` throws. */
  async has(ruleset: Ruleset, look: RulesetLook): Promise<boolean> {
    const begun = this.#begun
    const isQuiet = (): boolean => this.#underWay === 0 && this.#begun === begun
    const generation = isQuiet() ? await look.generation() : undefined
    if (generation === undefined || !isQuiet()) return await look.compare()
    this.#moveTo(generation)
    const text = this.#textOf(ruleset)
    if (this.#known.has(text)) return true
    const isThere = await look.compare()
    // What changed meanwhile may have been compared in part.
    if (isThere && isQuiet() && (await look.generation()) === generation && isQuiet() && this.#known.size < MAX_KNOWN)
      this.#known.add(text)
    return isThere
  }

  /**
   * Changes elements, and nothing of nftables besides, in one transaction.
   *
   * @param isDone whether it was done, for a change that says so: undefined when nobody knows.
   * @throws what `change` throws.
   */
  async change<T>(change: () => Promise<T>, isDone: (end: T) => boolean | undefined = () => true): Promise<T> {
    this.#begun += 1
    this.#underWay += 1
    try {
      const end = await change()
      const done = isDone(end)
      if (done === undefined) this.forget()
      else if (done) this.#step()
      return end
    } catch (failure) {
      if (!(failure instanceof NetlinkError) || failure.outcomeUnknown) this.forget()
      throw failure
    } finally {
      this.#underWay -= 1
    }
  }

  #step(): void {
    if (this.#generation === undefined) return
    this.#generation = this.#generation === LAST_GENERATION ? 1 : this.#generation + 1
  }

  /** Whatever was seen holds no longer. */
  forget(): void {
    this.#generation = undefined
    this.#known.clear()
  }

  #moveTo(generation: number): void {
    if (this.#generation !== generation) this.forget()
    this.#generation = generation
  }

  /** A ruleset is a value: two that say the same are the same. */
  #textOf(ruleset: Ruleset): string {
    const known = this.#texts.get(ruleset)
    if (known !== undefined) return known
    const text = renderRuleset(ruleset)
    this.#texts.set(ruleset, text)
    return text
  }
}
