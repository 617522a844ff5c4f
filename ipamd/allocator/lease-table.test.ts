import fc from 'fast-check'
import t from 'tap'
import { attachmentKeyText } from '../../lib/ipam/attachment.ts'
import type { Lease } from '../../lib/ipam/lease.ts'
import { LeaseTable } from './lease-table.ts'

const name = fc.constantFrom('a', 'b')
const steps = fc.array(
  fc.record({
    do: fc.constantFrom('set', 'set', 'delete'),
    attachment: fc.record({ network: name, containerId: fc.constantFrom('a', 'b', 'c'), ifName: name }),
    leasedAtUnixMs: fc.nat(),
  }),
)

t.test('LeaseTable is a map by attachment', async t => {
  const history = fc.property(steps, story => {
    const table = new LeaseTable()
    const model = new Map<string, Lease>()
    for (const { do: verb, attachment, leasedAtUnixMs } of story) {
      const lease = { attachment, pool: 'p', addresses: [], leasedAtUnixMs }
      if (verb === 'set') {
        table.set(lease)
        model.set(attachmentKeyText(attachment), lease)
      } else {
        table.delete(attachment)
        model.delete(attachmentKeyText(attachment))
      }
      if (table.get(attachment) !== model.get(attachmentKeyText(attachment))) return false
    }
    const values = new Set(table.values())
    return (
      table.size === model.size && values.size === model.size && [...model.values()].every(each => values.has(each))
    )
  })
  fc.assert(history, { numRuns: 1000 })
  t.pass('1000 histories')
})
