import fc from 'fast-check'
import t from 'tap'
import { macToBytes } from '../net/mac.ts'
import { hostIfNameOf, macOf } from './link-names.ts'

const name = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,60}$/)
const attachment = fc.record({ network: name, containerId: name, ifName: fc.constant('eth0') })

t.test('hostIfNameOf() fits an interface name and is always the same', async t => {
  fc.assert(
    fc.property(attachment, value => {
      t.match(hostIfNameOf(value), /^tul[a-z2-7]{12}$/)
      t.equal(hostIfNameOf({ ...value }), hostIfNameOf(value))
    }),
  )
})

// R22: a name made of the pod's name let the old sandbox's DEL delete the new pod's interface.
t.test('hostIfNameOf() differs when any part of the attachment differs', async t => {
  const one = { network: 'pods', containerId: 'c1', ifName: 'eth0' }
  const others = [
    { ...one, network: 'pods2' },
    { ...one, containerId: 'c2' },
    { ...one, ifName: 'eth1' },
    { network: 'pod', containerId: 'sc1', ifName: 'eth0' },
  ]
  t.equal(new Set([one, ...others].map(hostIfNameOf)).size, 5)
})

t.test('hostIfNameOf() gives 100,000 containers 100,000 names', async t => {
  const names = new Set<string>()
  for (let i = 0; i < 100_000; i++) names.add(hostIfNameOf({ network: 'pods', containerId: `c${i}`, ifName: 'eth0' }))
  t.equal(names.size, 100_000)
})

t.test('macOf() is unicast, locally administered, and differs between the ends (R23)', async t => {
  fc.assert(
    fc.property(attachment, value => {
      const ends = [macOf(value, 'host'), macOf(value, 'pod')] as const
      t.not(ends[0], ends[1])
      for (const mac of ends) t.equal((macToBytes(mac)[0] ?? 0) & 0x03, 0x02)
    }),
  )
})
