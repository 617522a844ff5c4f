import { attachmentKeyText, type AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { Finding } from '../../lib/ipam/reconcile.ts'
import type { Log } from '../../lib/log/json-log.ts'
import type { Prefix } from '../../lib/net/prefix.ts'
import type { KeptExposures } from '../../lib/os/exposure-files.ts'
import { planElements, planWithdrawal } from '../../lib/plan/exposure.ts'
import { POOL_PREFIXES } from '../../lib/plan/exposure-ruleset.ts'
import type { Kernel } from '../../lib/plan/kernel.ts'
import { hostIfNameOf } from '../../lib/plan/link-names.ts'
import { Deadline, DeadlineExceeded } from '../../lib/time/deadline.ts'
import {
  abandoned,
  exposureFindings,
  isWired,
  missingElements,
  namesOf,
  neededRulesets,
  type ExposureSides,
} from './compare-exposures.ts'

/** What was put right. */
export type Repair = 'rules' | 'elements' | 'abandoned' | 'pools'

/** What the repairer needs of the daemon. */
export interface RepairEdges {
  readonly openKernel: () => Kernel
  /** The lock that ADD, DEL and GC take. @throws {DeadlineExceeded} when somebody holds it. */
  readonly lock: (attachment: AttachmentKey, by: Deadline) => Promise<Disposable>
  readonly readExposures: () => KeptExposures
  readonly dropExposure: (attachment: AttachmentKey) => void
  /** The prefixes of the node's pools, and its blocks: pods there see a pod's own address. */
  readonly poolPrefixes: () => readonly Prefix[]
  readonly count: (what: Repair) => void
  readonly log: Log
}

/** What one turn may take. What is left is done at the next. */
const TURN_MS = 5_000

/**
 * Keeps our nftables table as the pods of the node need it (checklist R18): a rule, a set, an element or all of it may be
 * flushed by somebody who reloads a firewall, and is put back at the next turn. What attachments without an interface have left
 * is removed.
 *
 * What should be there follows from the links in the kernel and from the records that ADD has written. Nothing is done about an
 * attachment that somebody works on.
 */
export class Repairer {
  readonly #edges: RepairEdges
  #kernel: Kernel | undefined
  /** The kernel's count of changes to its tables when all was seen to be well. */
  #wellAt: number | undefined
  #unreadable = ''

  constructor(edges: RepairEdges) {
    this.#edges = edges
  }

  /**
   * Looks, and puts right what is wrong. Costs one question to the kernel while nobody has changed a table since all was well,
   * unless `isThorough`.
   *
   * @throws {KernelError} when it cannot look, or a rule cannot be written: the next turn tries again.
   */
  async turn({ isThorough }: { readonly isThorough: boolean }): Promise<void> {
    const by = Deadline.in(TURN_MS)
    const kernel = (this.#kernel ??= this.#edges.openKernel())
    try {
      const generation = await kernel.observeNftGeneration(by)
      if (!isThorough && generation === this.#wellAt) return
      this.#wellAt = (await this.#repair(kernel, by)) ? generation : undefined
    } catch (failure) {
      // A socket that has lost an answer is not asked again.
      this.close()
      throw failure
    }
  }

  /** What is wrong, in both directions. Changes nothing. @throws {KernelError} */
  async findings(kernel: Kernel, by: Deadline): Promise<readonly Finding[]> {
    const sides = await this.#look(kernel, by)
    const rules: Finding[] = []
    for (const ruleset of neededRulesets(sides)) {
      if (await kernel.hasRuleset(ruleset, by)) continue
      rules.push({ kind: 'rules-missing', detail: `nftables lacks the chains ${namesOf(ruleset)} as they should be` })
    }
    return [...rules, ...exposureFindings(sides)]
  }

  close(): void {
    this.#kernel?.[Symbol.dispose]()
    this.#kernel = undefined
    this.#wellAt = undefined
  }

  /** @returns True when nothing had to be done. */
  async #repair(kernel: Kernel, by: Deadline): Promise<boolean> {
    const before = await this.#look(kernel, by)
    const isRuled = await this.#writeRules(kernel, before, by)
    // Rules that were gone have taken elements with them.
    const sides = isRuled ? before : await this.#look(kernel, by)
    const missing = missingElements(sides)
    for (const { exposure } of missing) await this.#restore(kernel, exposure.attachment, by)
    const left = abandoned(sides)
    for (const attachment of left) await this.#remove(kernel, attachment, by)
    return isRuled && missing.length === 0 && left.length === 0
  }

  async #look(kernel: Kernel, by: Deadline): Promise<ExposureSides> {
    // In this order: ADD writes its record before it makes its interface, and that before its elements.
    const { exposures, unreadable } = this.#edges.readExposures()
    this.#sayUnreadable(unreadable.join('; '))
    const elements = await kernel.observeElements('all', by)
    return { exposures, links: await kernel.observeOwnLinks(by), elements }
  }

  /** @returns True when all was there. */
  async #writeRules(kernel: Kernel, sides: ExposureSides, by: Deadline): Promise<boolean> {
    let isWell = true
    for (const ruleset of neededRulesets(sides)) {
      if (await kernel.hasRuleset(ruleset, by)) continue
      isWell = false
      await kernel.replaceRuleset(ruleset, by)
      this.#did('rules', { chains: namesOf(ruleset) })
    }
    const isMasquerading = sides.exposures.some(
      ({ attachment, masquerade }) => masquerade !== undefined && isWired(attachment, sides.links),
    )
    for (const family of isMasquerading ? ([4, 6] as const) : []) {
      const prefixes = this.#edges.poolPrefixes().filter(({ address }) => address.family === family)
      if (!(await kernel.ensureSetContent(POOL_PREFIXES[family], prefixes, by))) continue
      isWell = false
      this.#did('pools', { set: POOL_PREFIXES[family].name })
    }
    return isWell
  }

  /** Looks once more, under the lock, and adds what is missing. */
  async #restore(kernel: Kernel, attachment: AttachmentKey, by: Deadline): Promise<void> {
    await this.#locked(attachment, async () => {
      const [missing] = missingElements({
        exposures: this.#edges.readExposures().exposures.filter(each => isSame(each.attachment, attachment)),
        links: await this.#linksOf(kernel, attachment, by),
        elements: await kernel.observeElements(attachment, by),
      })
      if (missing === undefined) return
      for (const operation of planElements(attachment, missing.elements)) await kernel.apply(operation, by)
      this.#did('elements', { attachment: attachmentKeyText(attachment), elements: missing.elements.length })
    })
  }

  /** Looks once more, under the lock, and removes what an attachment without an interface has left. */
  async #remove(kernel: Kernel, attachment: AttachmentKey, by: Deadline): Promise<void> {
    await this.#locked(attachment, async () => {
      if ((await this.#linksOf(kernel, attachment, by)).length > 0) return
      const held = await kernel.observeElements(attachment, by)
      for (const operation of planWithdrawal(attachment, held)) await kernel.apply(operation, by)
      this.#edges.dropExposure(attachment)
      this.#did('abandoned', { attachment: attachmentKeyText(attachment), elements: held.length })
    })
  }

  async #linksOf(kernel: Kernel, attachment: AttachmentKey, by: Deadline) {
    const link = await kernel.observeLink('host', hostIfNameOf(attachment), by)
    return link === undefined ? [] : [link]
  }

  /** One that fails must not keep the others: it is tried again at the next turn. */
  async #locked(attachment: AttachmentKey, body: () => Promise<void>): Promise<void> {
    try {
      using _lock = await this.#edges.lock(attachment, Deadline.in(0))
      await body()
    } catch (failure) {
      // Somebody works on the attachment, so it is not for us.
      if (failure instanceof DeadlineExceeded) return
      this.#edges.log.error('repairing nftables failed', { attachment: attachmentKeyText(attachment), error: failure })
    }
  }

  #did(what: Repair, about: object): void {
    this.#edges.count(what)
    this.#edges.log.warn('nftables table inet tulle repaired', { what, ...about })
  }

  /** Once, not at every turn. */
  #sayUnreadable(text: string): void {
    if (text !== '' && text !== this.#unreadable) this.#edges.log.warn('records of pods cannot be read', { text })
    this.#unreadable = text
  }
}

function isSame(one: AttachmentKey, other: AttachmentKey): boolean {
  return attachmentKeyText(one) === attachmentKeyText(other)
}
