import t from 'tap'
import { sortLeftovers } from './leftovers.ts'

t.test('sortLeftovers() knows what stays by design', async t => {
  const { byDesign, faults } = sortLeftovers({
    added: [
      'IPv4 routes: unreachable 10.244.0.0/24 proto 117',
      'nftables: table inet tulle {\n\tchain from-pods {\n\t}\n}',
      'sysctls: net/ipv4/ip_forward = 1',
      'files: /run/tulle/spool',
    ],
    removed: ['sysctls: net/ipv4/ip_forward = 0'],
  })
  t.same(faults, [])
  t.same(
    byDesign.map(({ what }) => what),
    ['unreachable 10.244.0.0/24 proto 117', 'table inet tulle', 'net/ipv4/ip_forward = 1', '/run/tulle/spool'],
  )
})

const FAULTS = [
  { name: 'a route of a pod', added: ['IPv4 routes: 10.244.0.2 dev tulabc proto 117 scope link'] },
  { name: 'an unreachable route of somebody else', added: ['IPv4 routes: unreachable 10.244.0.0/24'] },
  { name: 'a spooled release', added: ['files: /run/tulle/spool/abc.json'] },
  { name: 'another setting', added: ['sysctls: net/ipv4/conf/all/rp_filter = 1'] },
  { name: 'a table of somebody else', added: ['nftables: table ip nat {\n}'] },
  { name: 'an address that is gone', removed: ['addresses: ifname lo local 192.0.2.1'] },
  { name: 'forwarding that was on', removed: ['sysctls: net/ipv4/ip_forward = 1'] },
] as const

for (const fault of FAULTS) {
  t.test(`sortLeftovers() reports ${fault.name}`, async t => {
    const added = 'added' in fault ? fault.added : []
    const removed = 'removed' in fault ? fault.removed : []
    const { byDesign, faults } = sortLeftovers({ added, removed })
    t.same(byDesign, [])
    t.equal(faults.length, 1)
  })
}
