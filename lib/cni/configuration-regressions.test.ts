import t from 'tap'
import { parseNetworkConfiguration } from './configuration.ts'
import { parseInvocation } from './invocation.ts'
import { parseTulleConfiguration } from './tulle-configuration.ts'

for (const [type, ipamType] of [
  ['tulle', 'tulle'],
  ['tulle', 'tulle-node'],
  ['renamed', 'renamed'],
] as const) {
  const stdin = JSON.stringify({ cniVersion: '1.1.0', name: 'net1', type, ipam: { type: ipamType } })

  t.test(
    `parseTulleConfiguration() refuses ${type} that delegates to ${ipamType}: it would start itself without end`,
    async t => {
      t.throws(() => parseTulleConfiguration(parseNetworkConfiguration(stdin)), {
        code: 7,
        message: `Cannot use ipam.type "${ipamType}": want an IPAM plugin, such as "tulle-ipam"`,
      })
      const { ipam } = parseTulleConfiguration(parseNetworkConfiguration(stdin), { lenient: true })
      t.equal(ipam.kind, 'tulle', 'DEL and GC do not start it either')
    },
  )
}

t.test('parseTulleConfiguration() takes a plugin of another name', async t => {
  const stdin = JSON.stringify({ cniVersion: '1.1.0', name: 'net1', type: 'tulle', ipam: { type: 'tulle-other' } })
  t.same(parseTulleConfiguration(parseNetworkConfiguration(stdin)).ipam, { kind: 'delegated', type: 'tulle-other' })
})

t.test(
  'names of any length are taken for DEL: ADD refused them, and the runtime deletes all the same (D2, R12)',
  async t => {
    const name = 'n'.repeat(96)
    const stdin = JSON.stringify({ cniVersion: '1.1.0', name, type: 'tulle' })
    t.throws(() => parseNetworkConfiguration(stdin), { code: 7 })
    t.equal(parseNetworkConfiguration(stdin, { lenient: true }).name, name)
    const env = { CNI_CONTAINERID: 'c'.repeat(129), CNI_IFNAME: 'eth0', CNI_NETNS: '/n' }
    t.throws(() => parseInvocation({ ...env, CNI_COMMAND: 'ADD' }), { code: 4 })
    t.match(parseInvocation({ ...env, CNI_COMMAND: 'DEL' }), { containerId: 'c'.repeat(129) })
    t.throws(
      () => parseInvocation({ ...env, CNI_COMMAND: 'DEL', CNI_CONTAINERID: 'a/b' }),
      { code: 4 },
      'not of any charset (E4)',
    )
  },
)

for (const address of ['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255', '::', '::1', 'ff02::1']) {
  t.test(`parseTulleConfiguration() refuses to route ${address} via the host (C7)`, async t => {
    const object = {
      cniVersion: '1.1.0',
      name: 'net1',
      type: 'tulle',
      ipam: { type: 'tulle-ipam' },
      ipsToRouteViaHost: ['169.254.20.10', address],
    }
    t.throws(() => parseTulleConfiguration(parseNetworkConfiguration(JSON.stringify(object))), {
      code: 7,
      message: `Cannot use ipsToRouteViaHost[1] "${address}": want an address that the host can have for its pods`,
    })
  })
}
