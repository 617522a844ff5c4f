import t from 'tap'
import { parseAddress } from '../net/address.ts'
import { parseIfName } from '../net/if-name.ts'
import { macOf } from '../plan/link-names.ts'
import { planAttach } from '../plan/plan-attach.ts'
import type { Operation } from '../plan/operation.ts'
import { batchesOf } from './batches.ts'

const ATTACHMENT = { network: 'pods', containerId: 'c1', ifName: 'eth0' }

function planOf(addresses: readonly string[]) {
  return planAttach({
    attachment: ATTACHMENT,
    hostIfName: parseIfName('tulx'),
    hostMac: macOf(ATTACHMENT, 'host'),
    podIfName: parseIfName('eth0'),
    podMac: macOf(ATTACHMENT, 'pod'),
    mtuBytes: 1500,
    addresses: addresses.map(parseAddress),
    viaHost: [],
    hostHasIpv6: true,
    hostDisablesIpv6: false,
    podDisablesIpv6: false,
  })
}

t.test('batchesOf() keeps the order and loses nothing', async t => {
  const plan = planOf(['10.0.0.2', 'fd00::2'])
  t.same(batchesOf(plan).flat(), plan)
  t.same(batchesOf([]), [])
})

t.test('batchesOf() needs few messages for the plan of a pod', async t => {
  const batches = batchesOf(planOf(['10.0.0.2', 'fd00::2']))
  t.same(
    batches.map(batch => `${batch[0].do} ${'at' in batch[0] ? batch[0].at : ''} × ${batch.length}`),
    [
      'add-veth  × 1',
      'disable-link-local host × 1',
      'set-sysctl host × 6',
      'add-address host × 3',
      'set-sysctl pod × 2',
      'set-link pod × 10',
      'set-neighbour host × 5',
    ],
  )
})

t.test('batchesOf() leaves what makes or ends a link alone, and puts no more than 64 together', async t => {
  const remove: Operation = { do: 'delete-link', at: 'host', link: parseIfName('tulx') }
  t.equal(batchesOf([remove, remove]).length, 2)
  const up: Operation = { do: 'set-link', at: 'pod', link: parseIfName('eth0'), up: true }
  t.same(
    batchesOf(Array.from({ length: 130 }, () => up)).map(({ length }) => length),
    [64, 64, 2],
  )
})
