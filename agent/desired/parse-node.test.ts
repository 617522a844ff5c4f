import t from 'tap'
import { nodeObject } from '../../e2e/kube/api-server.ts'
import { formatAddress } from '../../lib/net/address.ts'
import { ParseError } from '../../lib/net/parse-error.ts'
import { formatPrefix } from '../../lib/net/prefix.ts'
import { isSameNode } from './cluster.ts'
import { parseNode } from './parse-node.ts'

const NODE = nodeObject('a', { podCidrs: ['10.244.1.0/24', 'fd00::/64'], ips: ['192.0.2.1', '2001:db8::1'] })

t.test('parseNode() keeps what decides about routes', t => {
  const node = parseNode(NODE)
  t.strictSame(node.podCidrs.map(formatPrefix), ['10.244.1.0/24', 'fd00::/64'])
  t.strictSame(node.internalIps.map(formatAddress), ['192.0.2.1', '2001:db8::1'])
  t.equal(node.createdAtUnixMs, Date.parse('2026-01-01T00:00:00Z'))
  t.ok(isSameNode(node, parseNode({ ...NODE, more: 1 })))
  t.notOk(isSameNode(node, parseNode({ ...NODE, spec: { podCIDRs: ['10.244.1.0/24'] } })))
  t.end()
})

t.test('parseNode() reads a node that has nothing yet, and the older podCIDR', t => {
  t.match(parseNode({ metadata: { name: 'a' } }), { podCidrs: [], internalIps: [] })
  const { podCidrs } = parseNode({ metadata: { name: 'a' }, spec: { podCIDR: '10.244.1.0/24' } })
  t.strictSame(podCidrs.map(formatPrefix), ['10.244.1.0/24'])
  t.end()
})

const faults = [
  {
    name: 'host bits',
    node: { spec: { podCIDRs: ['10.244.1.1/24'] } },
    fault: /podCIDRs\[0\]: .*want 10\.244\.1\.0\/24/,
  },
  {
    name: 'two of one family',
    node: { spec: { podCIDRs: ['10.0.0.0/24', '10.0.1.0/24'] } },
    fault: /at most one prefix of each/,
  },
  { name: 'no text', node: { spec: { podCIDRs: [4] } }, fault: /want a prefix/ },
  { name: 'no list', node: { spec: { podCIDRs: 'x' } }, fault: /want an array/ },
  {
    name: 'no address',
    node: { status: { addresses: [{ type: 'InternalIP', address: 'x' }] } },
    fault: /addresses\[0\].address/,
  },
] as const

for (const { name, node, fault } of faults) {
  t.test(`parseNode() tells what is wrong, and gives such a node nothing: ${name}`, t => {
    const parsed = parseNode({ metadata: { name: 'a' }, ...node })
    t.match(parsed.fault, fault)
    t.strictSame([parsed.podCidrs, parsed.internalIps], [[], []])
    t.end()
  })
}

t.test('parseNode() refuses what has no name', t => {
  for (const value of [undefined, 4, {}, { metadata: {} }]) t.throws(() => parseNode(value), ParseError)
  t.end()
})
