import fc from 'fast-check'
import t from 'tap'
import { attachmentKeyText } from '../../lib/ipam/attachment.ts'
import type { Lease } from '../../lib/ipam/lease.ts'
import { LeaseTable, NO_LEASES } from './lease-table.ts'

const name = fc.constantFrom('a', 'b')
const steps = fc.array(
  fc.record({
    do: fc.constantFrom('set', 'set', 'delete', 'settle'),
    attachment: fc.record({ network: name, containerId: fc.constantFrom('a', 'b', 'c'), ifName: name }),
    value: fc.bigInt(0n, 3n),
  }),
)

t.test('LeaseTable is a map by attachment, whatever of it is stored', async t => {
  const history = fc.property(steps, story => {
    // What is stored, as a table that is never asked to settle.
    const stored = new LeaseTable(NO_LEASES)
    const table = new LeaseTable(stored)
    const model = new Map<string, Lease>()
    const holderIn = (value: bigint) => [...model.values()].find(each => each.addresses[0]?.address.value === value)
    for (const { do: verb, attachment, value } of story) {
      const key = attachmentKeyText(attachment)
      const address = { family: 4, value } as const
      const lease = { attachment, pool: 'p', addresses: [{ address, block: { address, prefixLength: 32 } }] }
      if (verb === 'set' && holderIn(value) === undefined) {
        table.set({ ...lease, leasedAtUnixMs: 0 })
        model.set(key, { ...lease, leasedAtUnixMs: 0 })
      } else if (verb === 'delete') {
        table.delete(attachment)
        model.delete(key)
      } else if (verb === 'settle') {
        for (const each of stored.attachments()) stored.delete(each)
        for (const each of model.values()) stored.set(each)
        table.settle()
      }
      const holder = table.holderOf(address)
      t.same(holder, holderIn(value)?.attachment)
      t.same(table.get(attachment), model.get(key))
      for (const network of [undefined, 'a', 'b']) {
        const listed = [...table.attachments(network)].map(attachmentKeyText).toSorted()
        const all = [...model.values()].map(each => each.attachment)
        const want = all.filter(each => network === undefined || each.network === network)
        if (String(listed) !== String(want.map(attachmentKeyText).toSorted())) return false
      }
    }
    return true
  })
  fc.assert(history, { numRuns: 500 })
})

t.test('isUntouched() is true until the lease is changed, released or touched', async t => {
  const lease: Lease = {
    attachment: { network: 'n', containerId: 'c', ifName: 'eth0' },
    pool: 'p',
    addresses: [],
    leasedAtUnixMs: 1,
  }
  const other = { ...lease, attachment: { ...lease.attachment, containerId: 'd' } }
  const stored = new LeaseTable(NO_LEASES)
  stored.set(lease)
  for (const [what, happen] of [
    ['changed', (table: LeaseTable) => table.set({ ...lease })],
    ['released', (table: LeaseTable) => table.delete(lease.attachment)],
    ['touched', (table: LeaseTable) => table.touch(lease.attachment)],
    ['unwatched', (table: LeaseTable, watch: { readonly lease: Lease }) => table.unwatch(watch)],
    ['watched again', (table: LeaseTable) => table.watch(lease.attachment)],
  ] as const) {
    const table = new LeaseTable(stored)
    const watch = table.watch(lease.attachment)
    if (watch === undefined) throw new Error('it has a lease')
    table.set(other)
    table.settle()
    t.equal(table.isUntouched(watch), true)
    happen(table, watch)
    t.equal(table.isUntouched(watch), false, what)
    t.equal(new LeaseTable(stored).isUntouched(watch), false, 'a table that was read anew does not know')
  }
  t.equal(new LeaseTable(stored).watch(other.attachment), undefined)
})
