import { setImmediate as nextTurn } from 'node:timers/promises'
import { removeLink } from '../../lib/attach/leftovers.ts'
import { attachmentKeyText, type AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { CheckReply, Finding, ReconcileReply, StaleLease } from '../../lib/ipam/reconcile.ts'
import { formatPrefix, type Prefix } from '../../lib/net/prefix.ts'
import type { Kernel } from '../../lib/plan/kernel.ts'
import { hostIfNameOf, hostIfNameOfIfb } from '../../lib/plan/link-names.ts'
import type { ObservedLink, OwnRoute } from '../../lib/plan/observed.ts'
import { parseOwner } from '../../lib/plan/owner.ts'
import { Deadline, DeadlineExceeded } from '../../lib/time/deadline.ts'
import type { LeaseService } from '../lease-service.ts'
import type { Log } from '../../lib/log/json-log.ts'
import type { BootFacts } from '../store/boot-facts.ts'
import type { LeaseOrigin } from '../store/lease-origin.ts'
import { blocksWithoutRoute, compareSides } from './compare.ts'
import { staleReasonOf, suspectStale, type SecondLook, type Sight, type Suspicion } from './decide-stale.ts'
import type { NodeEdges } from './node-edges.ts'
import { remember, ripe } from './remember.ts'
import type { StoreView } from './store-view.ts'
import { orphanedIfbs, unfinishedLinks, type SeenUnfinishedLink, type UnfinishedLink } from './unfinished-links.ts'

/** What the reconciler needs of the daemon. */
export interface ReconcilerEdges {
  readonly service: Pick<LeaseService, 'holds' | 'releaseStale'>
  readonly store: StoreView
  readonly node: NodeEdges
  readonly boot: BootFacts
  /** Both are idempotent. */
  readonly onBlockTaken: (block: Prefix, by: Deadline) => Promise<void>
  readonly onBlockReturned: (block: Prefix, by: Deadline) => Promise<void>
  /** A clock that nobody sets, in milliseconds. */
  readonly uptimeMs: () => number
  readonly log: Log
  /** What else is wrong in the kernel. */
  readonly alsoCheck?: ((kernel: Kernel, by: Deadline) => Promise<readonly Finding[]>) | undefined
}

/** One look at the kernel. */
interface Look {
  readonly links: readonly ObservedLink[]
  /** Links of ours that shape a pod which is gone. */
  readonly orphans: readonly UnfinishedLink[]
  readonly routes: readonly OwnRoute[]
  readonly sight: Sight
}

/** What one turn has done, or a dry one would do. */
interface Turn {
  readonly freed: readonly NamedSuspicion[]
  /** Not freed, or not yet. */
  readonly watched: readonly Suspicion[]
  readonly removed: readonly UnfinishedLink[]
  readonly repaired: readonly Prefix[]
}

/** A suspicion, and whose lease it is about. */
interface NamedSuspicion extends Suspicion {
  readonly attachment: AttachmentKey
}

interface Memory {
  /** By the id of the lease. */
  readonly suspicions: ReadonlyMap<number, Suspicion>
  readonly unfinished: ReadonlyMap<string, SeenUnfinishedLink>
}

/** What one turn may take. What is left is done at the next. */
const TURN_MS = 30_000
/** Leases read at once: some milliseconds in which nobody is answered. */
const PAGE = 500
/** Leases freed at once: they share a commit. */
const BATCH = 32
/** Between the two looks of a check: what an ADD or a DEL is just doing is no finding. */
const CHECK_PAUSE_MS = 250

/**
 * Brings leases and kernel together (checklist R1, R2, R6). It frees a lease only after two observations, `graceMs` apart or
 * more, between which the lease never looked alive; and then only when it looks the same once more, under the lock that ADD
 * and DEL take, and nobody has asked for it since. It never touches a finished interface.
 */
export class Reconciler {
  readonly #graceMs: number
  readonly #edges: ReconcilerEdges
  #memory: Memory = { suspicions: new Map(), unfinished: new Map() }
  #running: Promise<void> = Promise.resolve()

  constructor({ graceMs }: { readonly graceMs: number }, edges: ReconcilerEdges) {
    this.#graceMs = graceMs
    this.#edges = edges
  }

  /**
   * One turn: looks, frees what has been stale for long enough, removes what killed ADDs left, and adds the routes of blocks
   * that are gone. Turns run one after the other. A dry run changes nothing, and is no observation.
   *
   * @throws {KernelError} or {StoreError} when it can't look: nothing was changed then. What fails later is logged and kept for
   *   the next turn.
   */
  run({ dryRun }: { readonly dryRun: boolean }): Promise<ReconcileReply> {
    return this.#alone(async () => {
      const { freed, watched, removed, repaired } = await this.#turn(dryRun)
      return {
        dryRun,
        freed: freed.map(each => this.#stale(each)),
        watched: (await this.#named(watched)).map(each => this.#stale(each)),
        removedLinks: removed.map(({ name }) => name),
        repairedBlocks: repaired.map(formatPrefix),
      }
    })
  }

  /** As run(), for nobody who wants to know what was done. */
  async runQuietly(): Promise<void> {
    await this.#alone(() => this.#turn(false))
  }

  /** Compares store and kernel, in both directions. Changes nothing. @throws {KernelError} {StoreError} */
  check(): Promise<CheckReply> {
    return this.#alone(async () => {
      const first = new Set((await this.#check()).map(keyOfFinding))
      await new Promise(resolve => setTimeout(resolve, CHECK_PAUSE_MS))
      return { findings: (await this.#check()).filter(finding => first.has(keyOfFinding(finding))) }
    })
  }

  /** Resolves when no turn runs. */
  async settle(): Promise<void> {
    await this.#running
  }

  #alone<T>(body: () => Promise<T>): Promise<T> {
    const result = this.#running.then(body)
    // Not the result itself, which may be large and is nobody's when it was answered.
    this.#running = result.then(
      () => {},
      () => {},
    )
    return result
  }

  async #check(): Promise<readonly Finding[]> {
    using kernel = this.#edges.node.openKernel()
    const by = Deadline.in(TURN_MS)
    const look = await this.#look(kernel, by)
    const { suspicions } = await this.#remembering(look)
    const more = (await this.#edges.alsoCheck?.(kernel, by)) ?? []
    return [...(await this.#findingsOf(look, suspicions)), ...more]
  }

  async #turn(dryRun: boolean): Promise<Turn> {
    const by = Deadline.in(TURN_MS)
    using kernel = this.#edges.node.openKernel()
    const look = await this.#look(kernel, by)
    const memory = await this.#remembering(look)
    const blocks = blocksWithoutRoute(this.#edges.store.blocks(), look.routes)
    // Of what is freed the store knows nothing any more.
    const stale = await this.#named(this.#ripe(memory.suspicions))
    const links = this.#ripe(memory.unfinished)
    if (!dryRun) this.#memory = memory
    const freed = dryRun ? stale : await this.#freeAll(kernel, stale, by)
    const removed = dryRun ? links : await filterAsync(links, link => this.#remove(kernel, link, by))
    const repaired = dryRun ? blocks : await filterAsync(blocks, block => this.#repair(kernel, block, by))
    const done = new Set(freed.map(({ id }) => id))
    return { freed, watched: [...memory.suspicions.values()].filter(({ id }) => !done.has(id)), removed, repaired }
  }

  #ripe<T extends Suspicion | SeenUnfinishedLink>(memory: ReadonlyMap<unknown, T>): readonly T[] {
    return ripe(memory, { graceMs: this.#graceMs, nowUptimeMs: this.#edges.uptimeMs() })
  }

  async #look(kernel: Kernel, by: Deadline): Promise<Look> {
    // Before the interfaces: ADD makes its interface first.
    const ifbs = await kernel.observeOwnIfbs(by)
    const links = await kernel.observeOwnLinks(by)
    const routes = await kernel.observeOwnRoutes(by)
    const owners = links.map(({ alias }) => (alias === undefined ? undefined : parseOwner(alias)))
    const sight = {
      boot: this.#edges.boot,
      carried: new Set(owners.filter(owner => owner !== undefined).map(owner => attachmentKeyText(owner.attachment))),
      linkNames: new Set(links.map(({ name }) => name)),
      isNetnsAlive: oncePerInode(this.#edges.node.isNetnsAlive),
    }
    return { links, orphans: orphanedIfbs(ifbs, name => sight.linkNames.has(name)), routes, sight }
  }

  async #remembering({ links, orphans, sight }: Look): Promise<Memory> {
    const nowUptimeMs = this.#edges.uptimeMs()
    const { suspicions, unfinished } = this.#memory
    return {
      suspicions: await this.#suspicions({ sight, before: suspicions, nowUptimeMs }),
      unfinished: remember([...unfinishedLinks(links), ...orphans], { before: unfinished, nowUptimeMs }),
    }
  }

  async #suspicions(second: SecondLook): Promise<Memory['suspicions']> {
    const suspicions = new Map<number, Suspicion>()
    for (let page = this.#edges.store.origins(0, PAGE); page.length > 0;) {
      suspectStale(suspicions, page, second)
      // Others are served between the pages.
      await nextTurn()
      page = this.#edges.store.origins(page.at(-1)?.id ?? 0, PAGE)
    }
    return suspicions
  }

  /** Those whose lease has not ended, with whose it is. */
  async #named(suspicions: readonly Suspicion[]): Promise<readonly NamedSuspicion[]> {
    const named: NamedSuspicion[] = []
    for (const [index, suspicion] of suspicions.entries()) {
      if (index % PAGE === PAGE - 1) await nextTurn()
      const attachment = this.#edges.store.attachmentOf(suspicion.id)
      if (attachment !== undefined) named.push({ ...suspicion, attachment })
    }
    return named
  }

  async #findingsOf({ links, orphans, routes }: Look, suspicions: Memory['suspicions']): Promise<readonly Finding[]> {
    const { store } = this.#edges
    const withoutLink = (await this.#named([...suspicions.values()])).map(({ attachment, reason }) => ({
      kind: 'lease-without-link' as const,
      detail: `${attachmentKeyText(attachment)} has a lease and no interface: ${reason}`,
      attachment,
    }))
    const sides = { leaseOf: store.leaseOf, holderOf: store.holderOf, blocks: store.blocks(), links, routes }
    const shaped = orphans.map(({ name, attachment }) => ({
      kind: 'link-unfinished' as const,
      detail: `${name} shapes packets of an interface that is gone`,
      linkName: name,
      ...(attachment === undefined ? {} : { attachment }),
    }))
    return [...withoutLink, ...compareSides(sides), ...shaped]
  }

  async #freeAll(kernel: Kernel, stale: readonly NamedSuspicion[], by: Deadline): Promise<readonly NamedSuspicion[]> {
    const freed: NamedSuspicion[] = []
    for (let at = 0; at < stale.length && !by.isPast(); at += BATCH) {
      const batch = stale.slice(at, at + BATCH)
      const outcomes = await Promise.all(
        batch.map(each => this.#orLog('freeing a stale lease', each, () => this.#free(kernel, each, by))),
      )
      freed.push(...batch.filter((_, index) => outcomes[index]))
    }
    return freed
  }

  /** Looks once more, under the lock, and frees. @returns False when the lease may be alive after all, or is gone. */
  async #free(
    kernel: Kernel,
    { id, attachment, reason, sinceUptimeMs }: NamedSuspicion,
    by: Deadline,
  ): Promise<boolean> {
    const { node, service, store, boot } = this.#edges
    using _lock = await node.lock(attachment, Deadline.in(0))
    // In this order: what asks for the lease after this line makes releaseStale() refuse.
    using held = await service.holds(attachment)
    const origin = store.origin(attachment)
    if (held === undefined || origin?.id !== id) return false
    const name = hostIfNameOf(attachment)
    const isThere = (await kernel.observeLink('host', name, by)) !== undefined
    const sight: Sight = {
      boot,
      carried: new Set(),
      linkNames: new Set(isThere ? [name] : []),
      isNetnsAlive: node.isNetnsAlive,
    }
    if (staleReasonOf(origin, sight) !== reason) return false
    const detail = `${reason}: no interface for ${Math.round((this.#edges.uptimeMs() - sinceUptimeMs) / 1000)} s; ${bootText(origin)}`
    if (!(await service.releaseStale(held, detail))) return false
    this.#edges.log.info('stale lease freed', { attachment: attachmentKeyText(attachment), reason, detail })
    return true
  }

  /** Removes what an ADD left, when nobody works on it. @returns False when it is something else by now. */
  async #remove(kernel: Kernel, seen: SeenUnfinishedLink, by: Deadline): Promise<boolean> {
    return this.#orLog('removing an unfinished interface', seen, async () => {
      const { node, log } = this.#edges
      using _lock = seen.attachment === undefined ? undefined : await node.lock(seen.attachment, Deadline.in(0))
      const link = await kernel.observeLink('host', seen.name, by)
      if (link === undefined || (await leftBehind(kernel, link, by))?.key !== seen.key) return false
      // After the look: an ADD that begins now makes another link of that name, which must not be taken for this one.
      if (seen.attachment === undefined && node.isBusy(hostIfNameOfIfb(seen.name) ?? seen.name)) return false
      await removeLink(kernel, seen.name, by)
      log.info('unfinished interface removed', { link: seen.name, alias: link.alias })
      return true
    })
  }

  /** Adds the route of a block again, unless the block was given back meanwhile. */
  async #repair(kernel: Kernel, block: Prefix, by: Deadline): Promise<boolean> {
    return this.#orLog('adding the route of a block', { block: formatPrefix(block) }, async () => {
      await this.#edges.onBlockTaken(block, by)
      const isOurs = this.#edges.store.blocks().some(each => formatPrefix(each) === formatPrefix(block))
      if (!isOurs) await this.#edges.onBlockReturned(block, by)
      const routes = await kernel.observeOwnRoutes(by)
      return isOurs && blocksWithoutRoute([block], routes).length === 0
    })
  }

  /** One that fails must not keep the others: it is tried again at the next turn. */
  async #orLog(doing: string, about: object, body: () => Promise<boolean>): Promise<boolean> {
    try {
      return await body()
    } catch (failure) {
      // Somebody works on the attachment, so it is not for us.
      if (!(failure instanceof DeadlineExceeded)) this.#edges.log.error(`${doing} failed`, { ...about, error: failure })
      return false
    }
  }

  #stale({ attachment, reason, sinceUptimeMs }: NamedSuspicion): StaleLease {
    return { attachment, reason, sinceMs: Math.round(this.#edges.uptimeMs() - sinceUptimeMs) }
  }
}

/** What `link` is, if somebody left it behind. */
async function leftBehind(kernel: Kernel, link: ObservedLink, by: Deadline): Promise<UnfinishedLink | undefined> {
  const hostIfName = link.kind === 'ifb' ? hostIfNameOfIfb(link.name) : undefined
  if (hostIfName === undefined) return unfinishedLinks([link])[0]
  const isUsed = (await kernel.observeLink('host', hostIfName, by)) !== undefined
  return orphanedIfbs([link], () => isUsed)[0]
}

function bootText({ boot }: LeaseOrigin): string {
  return `leased in boot ${boot.bootId}, network namespace ${boot.hostNetnsInode}`
}

function keyOfFinding({ kind, detail }: Finding): string {
  return `${kind} ${detail}`
}

/** Looking through all processes is costly, and a turn asks for one namespace once for each lease. */
function oncePerInode(ask: (inode: number) => boolean): (inode: number) => boolean {
  const known = new Map<number, boolean>()
  return inode => {
    const answer = known.get(inode) ?? ask(inode)
    known.set(inode, answer)
    return answer
  }
}

async function filterAsync<T>(items: readonly T[], predicate: (item: T) => Promise<boolean>): Promise<readonly T[]> {
  const kept: T[] = []
  for (const item of items) if (await predicate(item)) kept.push(item)
  return kept
}
