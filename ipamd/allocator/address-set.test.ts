import fc from 'fast-check'
import t from 'tap'
import { AddressSet } from './address-set.ts'

// Close to each other, at the edges of chunks and of both families.
const value = fc
  .tuple(fc.constantFrom(0n, 255n, 1n << 31n, (1n << 32n) - 2n, (1n << 128n) - 300n), fc.bigInt(0n, 299n))
  .map(([base, offset]) => base + offset)
const steps = fc.array(fc.record({ do: fc.constantFrom('add', 'add', 'delete'), value }), { maxLength: 200 })

t.test('AddressSet is a set of addresses', async t => {
  const history = fc.property(steps, value, (story, other) => {
    const set = new AddressSet()
    const model = new Set<bigint>()
    for (const step of story) {
      if (step.do === 'add') {
        set.add(step.value)
        model.add(step.value)
      } else {
        set.delete(step.value)
        model.delete(step.value)
      }
      if (set.size !== model.size || set.has(step.value) !== model.has(step.value)) return false
    }
    return set.has(other) === model.has(other) && [...model].every(each => set.has(each))
  })
  fc.assert(history, { numRuns: 1000 })
  t.pass('1000 histories')
})
