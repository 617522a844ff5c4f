import { existsSync, renameSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { syncFolder } from '../../lib/os/durable-file.ts'
import type { Deadline } from '../../lib/time/deadline.ts'
import type { Prefix } from '../../lib/net/prefix.ts'
import type { LeaseEvent, StoredChange } from '../allocator/events.ts'
import type { Pool } from '../allocator/pool.ts'
import type { Log } from '../../lib/log/json-log.ts'
import type { BootFacts } from './boot-facts.ts'
import type { LeaseMark } from './lease-mark.ts'
import { damagedStorePath, removeOldDamagedStores, sizeOfDamagedStore } from './damaged-stores.ts'
import { disjoint, rebuild } from './rebuild.ts'
import { salvageBlocks, salvageLeases, salvageReservations, type SalvagedBlocks } from './salvage.ts'
import { examineStore } from './store-health.ts'
import { SqliteStore } from './store.ts'

/** What restoring a store needs of the machine. */
export interface RestoreEdges {
  readonly log: Log
  readonly boot: BootFacts
  readonly nowUnixMs: () => number
  /** Which attachments have addresses as the kernel sees it. */
  readonly readMarks: (by: Deadline) => Promise<readonly LeaseMark[]>
  /** Which blocks the node had, as the kernel sees it. Absent: only the damaged store tells. */
  readonly readBlockMarks?: (by: Deadline) => Promise<readonly Prefix[]>
}

/**
 * Sees to it that a sound store is at `path`: one that is damaged is moved aside, and one that is damaged or missing is made
 * anew from the marks in the kernel and what can be read of the damaged one. Never empty while pods have addresses.
 *
 * The new store is whole before it gets its name, so that a crash on the way leaves the work to the next start.
 *
 * @throws {StoreError} when the file can't be read or written. @throws what readMarks throws: without the marks, addresses of
 *   live pods would be leased again.
 */
export async function restoreStore(
  path: string,
  { pools, edges, by }: { readonly pools: readonly Pool[]; readonly edges: RestoreEdges; readonly by: Deadline },
): Promise<void> {
  const rebuilt = `${path}.rebuilt`
  const aside = damagedStorePath(path, edges.nowUnixMs())
  if (existsSync(rebuilt)) return replaceStore(path, { rebuilt, aside, log: edges.log })
  const health = examineStore(path)
  if (health.is === 'sound') return
  const kernel = await edges.readMarks(by)
  const damagedStore = health.is === 'damaged' ? salvageLeases(path) : []
  const reservations = health.is === 'damaged' ? salvageReservations(path) : []
  const salvaged = health.is === 'damaged' ? salvageBlocks(path) : NO_BLOCKS
  const routed = (await edges.readBlockMarks?.(by)) ?? []
  const own = salvaged.blocks.filter(({ node }) => node === undefined).map(({ prefix }) => prefix)
  const granted = salvaged.blocks.filter(({ node }) => node !== undefined).map(({ prefix }) => prefix)
  // The kernel's first: where both speak, it is right.
  const evidence = { kernel, damagedStore, blocks: [...routed, ...own], granted }
  const { events: rebuiltLeases, refused } = rebuild(pools, evidence, edges.nowUnixMs())
  const events: readonly StoredChange[] = [
    ...rebuiltLeases,
    ...grantsIn(salvaged, { taken: rebuiltLeases, nowUnixMs: edges.nowUnixMs() }),
    ...handedOverIn(salvaged),
    // Behind the leases: what is evidence of a lease names no owner, and the store refuses others an address that is reserved.
    ...reservations.map(reservation => ({ type: 'reserved' as const, reservation, atUnixMs: edges.nowUnixMs() })),
  ]
  const unfinished = `${path}.new`
  for (const file of [unfinished, `${unfinished}-wal`, `${unfinished}-shm`]) rmSync(file, { force: true })
  const store = new SqliteStore(unfinished, edges.boot)
  try {
    if (events.length > 0) store.commit(events)
  } finally {
    store.close()
  }
  renameSync(unfinished, rebuilt)
  syncFolder(dirname(path))
  replaceStore(path, { rebuilt, aside, log: edges.log })
  const leases = events.filter(({ type }) => type === 'leased').length
  if (health.is === 'damaged') {
    const bytes = sizeOfDamagedStore(aside)
    edges.log.error('lease store was damaged, and is made anew', {
      path,
      why: health.why,
      aside,
      bytes,
      leases,
      refused,
    })
  } else if (kernel.length > 0) {
    edges.log.error('lease store was missing, and is made anew', { path, leases, refused })
  }
}

const NO_BLOCKS: SalvagedBlocks = { blocks: [], podCidrs: [], grantees: [], sequences: [] }

/** What other nodes have from here, and the numbers that go with it. What a live pod of this node has is not theirs. */
function grantsIn(
  { blocks, grantees, sequences }: SalvagedBlocks,
  { taken, nowUnixMs }: { readonly taken: readonly LeaseEvent[]; readonly nowUnixMs: number },
): readonly LeaseEvent[] {
  const own = taken.flatMap(event => (event.type === 'block-taken' ? [event.prefix] : []))
  const kept = disjoint([...own, ...blocks.flatMap(({ node, prefix }) => (node === undefined ? [] : [prefix]))])
  const granted = blocks.filter(({ node, prefix }) => node !== undefined && kept.includes(prefix))
  return [
    ...granted.map(block => ({ type: 'block-taken' as const, ...block, atUnixMs: nowUnixMs })),
    ...grantees.map(grantee => ({ type: 'grantee-seen' as const, grantee })),
    ...sequences.map(sequence => ({ type: 'upstream-asked' as const, ...sequence })),
  ]
}

function handedOverIn({ podCidrs }: SalvagedBlocks): readonly StoredChange[] {
  const [first] = podCidrs
  if (first === undefined) return []
  return [{ type: 'pod-cidrs-handed-over', pool: first.pool, podCidrs: podCidrs.map(({ prefix }) => prefix) }]
}

function replaceStore(path: string, { rebuilt, aside, log }: Replacement): void {
  // The log before the file it belongs to: it must never be beside another one.
  for (const suffix of ['-wal', '']) if (existsSync(path + suffix)) renameSync(path + suffix, aside + suffix)
  rmSync(`${path}-shm`, { force: true })
  renameSync(rebuilt, path)
  syncFolder(dirname(path))
  removeOldDamagedStores(path, { newest: aside, log })
}

interface Replacement {
  readonly rebuilt: string
  readonly aside: string
  readonly log: Log
}
