import t from 'tap'
import { parseNetworkConfiguration, type NetworkConfiguration } from '../cni/configuration.ts'
import { parseAddress } from '../net/address.ts'
import { leaseWish } from './lease-wish.ts'

const POD = { namespace: 'ns', name: 'db-0' }

function network(annotations: object = {}): NetworkConfiguration {
  const runtimeConfig = { 'io.kubernetes.cri.pod-annotations': annotations }
  return parseNetworkConfiguration(JSON.stringify({ name: 'net', type: 'tulle', runtimeConfig }))
}

t.test('leaseWish() asks for nothing where nobody does', async t => {
  t.strictSame(leaseWish({ network: network(), ipam: {}, args: {} }), {})
})

t.test('leaseWish() names the pod as the owner, so that it gets what is reserved and kept for it (R33)', async t => {
  t.strictSame(leaseWish({ network: network(), ipam: {}, args: { pod: POD } }), { pod: POD, owner: 'ns/db-0' })
})

t.test('leaseWish() lets the pod come before the configuration', async t => {
  const ipam = { pool: 'green', stickySeconds: 60 }
  t.match(leaseWish({ network: network(), ipam, args: { pod: POD } }), ipam)
  const annotations = { 'tulle.dev/pool': 'blue', 'tulle.dev/sticky': '1h', 'tulle.dev/addresses': 'fd00::7' }
  const want = { pool: 'blue', stickySeconds: 3600, addresses: [parseAddress('fd00::7')] }
  t.match(leaseWish({ network: network(annotations), ipam, args: { pod: POD } }), want)
  const none = leaseWish({ network: network({ 'tulle.dev/sticky': '0' }), ipam, args: { pod: POD } })
  t.equal(none.stickySeconds, undefined, 'the pod may do without')
})

t.test(
  'leaseWish() keeps addresses for nobody without a name: by configuration not, by annotation it refuses',
  async t => {
    t.equal(leaseWish({ network: network(), ipam: { stickySeconds: 60 }, args: {} }).stickySeconds, undefined)
    t.throws(() => leaseWish({ network: network({ 'tulle.dev/sticky': '10m' }), ipam: {}, args: {} }), {
      code: 7,
      message: /^Cannot keep addresses for 600 s as pod annotation tulle\.dev\/sticky asks: want K8S_POD_NAMESPACE/,
    })
  },
)
