import fc from 'fast-check'
import t from 'tap'
import { formatOwner, parseOwner } from './owner.ts'

const name = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,60}$/)
const ifName = fc.stringMatching(/^[a-z0-9@.-]{1,15}$/)
const owner = fc
  .tuple(name, name, ifName, fc.boolean())
  .map(([network, containerId, ifName, isComplete]) => ({ attachment: { network, containerId, ifName }, isComplete }))

t.test('parseOwner() reads what formatOwner() wrote (R22)', async t => {
  fc.assert(fc.property(owner, value => t.strictSame(parseOwner(formatOwner(value)), value)))
})

// A link whose alias we do not understand is somebody else's: it is never deleted (invariant 4).
const FOREIGN = [
  { name: 'an empty alias', alias: '' },
  { name: 'another program', alias: 'my uplink' },
  { name: 'another mark', alias: 'tulle/2 eth0 c1 pods' },
  { name: 'a missing part', alias: 'tulle/1 eth0 c1' },
  { name: 'a part too many', alias: 'tulle/1 eth0 c1 pods more' },
  { name: 'another state', alias: 'tulle/1 moving eth0 c1 pods' },
  { name: 'an empty part', alias: 'tulle/1 eth0  pods' },
] as const
for (const { name, alias } of FOREIGN) {
  t.test(`parseOwner() takes ${name} for foreign`, async t => t.equal(parseOwner(alias), undefined))
}

t.test('formatOwner() fits an ifalias of 255 bytes with the longest names that lib/cni lets through', async t => {
  const attachment = { network: 'n'.repeat(95), containerId: 'c'.repeat(128), ifName: 'i'.repeat(15) }
  t.ok(formatOwner({ attachment, isComplete: false }).length <= 255)
})
