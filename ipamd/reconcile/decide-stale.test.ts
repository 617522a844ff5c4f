import t from 'tap'
import { attachmentKeyText } from '../../lib/ipam/attachment.ts'
import type { StaleReason } from '../../lib/ipam/reconcile.ts'
import { hostIfNameOf } from '../../lib/plan/link-names.ts'
import type { BootFacts } from '../store/boot-facts.ts'
import type { LeaseOrigin, Via } from '../store/lease-origin.ts'
import { staleReasonOf, suspectStale, type Sight, type Suspicion } from './decide-stale.ts'

const BOOT: BootFacts = { bootId: 'now', initStartTicks: 7, hostNetnsInode: 100 }
const ATTACHMENT = { network: 'pods', containerId: 'abc', ifName: 'eth0' }
const NOTHING: Sight = { boot: BOOT, carried: new Set(), linkNames: new Set(), isNetnsAlive: () => false }

function leaseOf(boot: Partial<BootFacts>, via?: Via): LeaseOrigin {
  const origin = { id: 1, attachment: ATTACHMENT, leasedAtUnixMs: 0, boot: { ...BOOT, ...boot } }
  return via === undefined ? origin : { ...origin, via }
}

interface Row {
  readonly name: string
  readonly lease: LeaseOrigin
  readonly sight?: Partial<Sight>
  readonly want: StaleReason | undefined
}

const TABLE: readonly Row[] = [
  { name: 'a lease of tulle without a link', lease: leaseOf({}, 'tulle'), want: 'no-interface' },
  {
    name: 'a lease of tulle-ipam, whose link is nobody’s to look for',
    lease: leaseOf({}, 'tulle-ipam'),
    want: undefined,
  },
  { name: 'a lease of an unknown plugin', lease: leaseOf({}), want: undefined },
  {
    name: 'a lease that a link carries',
    lease: leaseOf({}, 'tulle'),
    sight: { carried: new Set([attachmentKeyText(ATTACHMENT)]) },
    want: undefined,
  },
  {
    name: 'a lease whose link has a name of ours and an alias that somebody edited',
    lease: leaseOf({}, 'tulle'),
    sight: { linkNames: new Set([hostIfNameOf(ATTACHMENT)]) },
    want: undefined,
  },
  { name: 'a lease of an older boot (R1)', lease: leaseOf({ bootId: 'before' }), want: 'older-boot' },
  {
    name: 'a lease of tulle-ipam of an older boot (R1)',
    lease: leaseOf({ bootId: 'before' }, 'tulle-ipam'),
    want: 'older-boot',
  },
  {
    name: 'a lease of an older boot that a link carries again',
    lease: leaseOf({ bootId: 'before' }, 'tulle'),
    sight: { carried: new Set([attachmentKeyText(ATTACHMENT)]) },
    want: undefined,
  },
  {
    name: 'a lease of a node namespace that is gone, where the boot ID stays the same (R1)',
    lease: leaseOf({ hostNetnsInode: 99, initStartTicks: 3 }, 'tulle-ipam'),
    want: 'netns-gone',
  },
  {
    name: 'a lease of a plugin in another namespace, when that of the daemon’s container is gone (R6)',
    lease: leaseOf({ hostNetnsInode: 99, initStartTicks: 3 }),
    want: undefined,
  },
  {
    name: 'a lease of a node namespace in which something lives: the daemon was moved',
    lease: leaseOf({ hostNetnsInode: 99 }, 'tulle'),
    sight: { isNetnsAlive: inode => inode === 99 },
    want: undefined,
  },
  {
    name: 'a lease from before process 1 started anew: in a process namespace of its own the daemon is process 1',
    lease: leaseOf({ initStartTicks: 3 }, 'tulle-ipam'),
    want: undefined,
  },
]

for (const { name, lease, sight, want } of TABLE) {
  t.test(`staleReasonOf() ${want === undefined ? 'keeps' : 'suspects'} ${name}`, async t => {
    t.equal(staleReasonOf(lease, { ...NOTHING, ...sight }), want)
  })
}

/** What is suspected of these leases, after what was suspected before. */
function suspicionsAt(nowUptimeMs: number, leases: readonly LeaseOrigin[], before: ReadonlyMap<number, Suspicion>) {
  const suspicions = new Map<number, Suspicion>()
  suspectStale(suspicions, leases, { sight: NOTHING, before, nowUptimeMs })
  return suspicions
}

const SUSPECTED = leaseOf({ bootId: 'before' }, 'tulle')
for (const { name, lease, since } of [
  { name: 'goes on with the same lease', lease: SUSPECTED, since: 10 },
  { name: 'begins anew with a later lease', lease: { ...SUSPECTED, id: 2 }, since: 20 },
  { name: 'begins anew with another boot', lease: leaseOf({ bootId: 'earlier' }, 'tulle'), since: 20 },
  { name: 'begins anew for another reason', lease: leaseOf({}, 'tulle'), since: 20 },
  { name: 'forgets what looks alive', lease: leaseOf({}, 'tulle-ipam'), since: undefined },
]) {
  t.test(`suspectStale() ${name}`, async t => {
    const first = suspicionsAt(10, [SUSPECTED], new Map())
    t.equal(suspicionsAt(20, [lease], first).get(lease.id)?.sinceUptimeMs, since)
    const gone = suspicionsAt(20, [], first)
    t.equal(suspicionsAt(30, [SUSPECTED], gone).get(1)?.sinceUptimeMs, 30, 'a break ends it')
  })
}

t.test('suspectStale() keeps the boot of each lease', async t => {
  const boots = ['before', 'before', 'earlier', 'before']
  const leases = boots.map((bootId, index) => ({ ...leaseOf({ bootId }), id: index }))
  const found = suspicionsAt(1, leases, new Map())
  t.same(
    [...found.values()].map(({ boot }) => boot.bootId),
    boots,
  )
})
