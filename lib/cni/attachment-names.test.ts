import t from 'tap'

import { MAX_CONTAINER_ID_BYTES, MAX_NETWORK_NAME_BYTES, parseNetworkName } from './attachment-names.ts'

t.test('the longest owner text fits the 255 bytes of an interface alias (R22)', async t => {
  const parts = ['eth0'.padEnd(15, 'x'), 'c'.repeat(MAX_CONTAINER_ID_BYTES), 'n'.repeat(MAX_NETWORK_NAME_BYTES)]
  t.equal(['tulle/1', 'adding', ...parts].join(' ').length, 255)
})

const refused = [
  { name: 'no name', text: '', want: { code: 7, message: 'missing network name' } },
  {
    name: 'a path',
    text: '../x',
    want: { code: 7, message: 'invalid characters found in network name', details: /name is "\.\.\/x"/ },
  },
  { name: 'white space', text: 'a b', want: { code: 7, message: 'invalid characters found in network name' } },
  { name: 'a line end', text: 'a\n', want: { code: 7, message: 'invalid characters found in network name' } },
  {
    name: 'too long a name',
    text: 'n'.repeat(96),
    want: { code: 7, message: /want a network name of at most 95 bytes/ },
  },
] as const

for (const c of refused) {
  t.test(`parseNetworkName() refuses ${c.name} with code 7 (E6)`, async t => {
    t.throws(() => parseNetworkName(c.text), c.want)
  })
}

t.test('parseNetworkName() accepts the characters of a container ID (E6)', async t => {
  t.equal(parseNetworkName('k8s-pod_network.1'), 'k8s-pod_network.1')
})
