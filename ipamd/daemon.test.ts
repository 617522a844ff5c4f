import { existsSync } from 'node:fs'
import t from 'tap'
import { addressesOf, attachment, rig } from './fake-machine.ts'
import { post, send } from './test-request.ts'

t.test('POST /v1/leases gives an address of each family, and the same again', async t => {
  const { socket, start } = rig(t)
  await start()
  const first = await post(socket, '/v1/leases', { attachment: attachment('a') })
  t.equal(first.status, 200)
  t.same(first.body, {
    lease: {
      attachment: attachment('a'),
      pool: 'default',
      addresses: [
        { address: '10.244.0.2', prefixLength: 24, block: '10.244.0.0/24', gateway: '10.244.0.1' },
        { address: 'fd00:10:244::2', prefixLength: 64, block: 'fd00:10:244::/64', gateway: 'fd00:10:244::1' },
      ],
      leasedAtUnixMs: 1_700_000_000_000,
    },
    isNew: true,
  })
  const again = await post(socket, '/v1/leases', { attachment: attachment('a') })
  t.same(again.body, { ...first.body, isNew: false })
})

t.test('leases outlive a restart (invariant 2)', async t => {
  const { socket, start } = rig(t)
  const daemon = await start()
  const first = await post(socket, '/v1/leases', { attachment: attachment('a') })
  await daemon.close()
  t.notOk(existsSync(socket), 'the socket is gone')
  await start()
  const again = await post(socket, '/v1/leases', { attachment: attachment('a') })
  t.same(again.body, { ...first.body, isNew: false })
  const other = await post(socket, '/v1/leases', { attachment: attachment('b') })
  t.same(addressesOf(other.body), ['10.244.0.3', 'fd00:10:244::3'])
})

t.test('200 requests at once get different addresses (invariant 1)', async t => {
  const { socket, start } = rig(t)
  await start()
  const ids = Array.from({ length: 200 }, (_, index) => `c${index}`)
  const answers = await Promise.all(ids.map(id => post(socket, '/v1/leases', { attachment: attachment(id) })))
  t.equal(new Set(answers.flatMap(answer => addressesOf(answer.body))).size, 400)
})

t.test('POST /v1/leases/release compares the owner and the addresses (R7)', async t => {
  const { socket, start } = rig(t)
  await start()
  await post(socket, '/v1/leases', { attachment: attachment('a') })
  const cases = [
    { name: 'another attachment', body: { attachment: attachment('b') }, released: false },
    { name: 'another network', body: { attachment: attachment('a', 'other') }, released: false },
    { name: 'another address', body: { attachment: attachment('a'), addresses: ['10.244.0.9'] }, released: false },
    { name: 'one of two addresses', body: { attachment: attachment('a'), addresses: ['10.244.0.2'] }, released: false },
    {
      name: 'its addresses',
      body: { attachment: attachment('a'), addresses: ['fd00:10:244::2', '10.244.0.2'] },
      released: true,
    },
    { name: 'it again', body: { attachment: attachment('a') }, released: false },
  ]
  for (const { name, body, released } of cases) {
    t.same((await post(socket, '/v1/leases/release', body)).body, { released }, name)
  }
})

t.test('POST /v1/leases/collect frees what is not valid, in its network only (G1, G7)', async t => {
  const { socket, start } = rig(t)
  await start()
  for (const each of [attachment('a'), attachment('b'), attachment('a', 'other')])
    await post(socket, '/v1/leases', { attachment: each })
  const answer = await post(socket, '/v1/leases/collect', {
    network: 'net',
    valid: [{ containerId: 'b', ifName: 'eth0' }],
  })
  t.same(answer.body, { released: [attachment('a')] })
  const left = await send(socket, { path: '/v1/leases' })
  t.same(
    (left.body['leases'] as { attachment: unknown }[]).map(lease => lease.attachment),
    [attachment('b'), attachment('a', 'other')],
  )
  const found = await send(socket, { path: '/v1/leases?network=net&containerId=b&ifName=eth0' })
  t.equal((found.body['leases'] as unknown[]).length, 1)
})

t.test('a used-up pool is refused with its name and counts, also by the status (S3, R32)', async t => {
  const made = rig(t, { prefixes: ['10.0.0.0/30', 'fd00::/64'], cooldownSeconds: 30 })
  const { socket, start } = made
  await start()
  t.same((await send(socket, { path: '/v1/status' })).body, { ready: true })
  await post(socket, '/v1/leases', { attachment: attachment('a') })
  const full = await post(socket, '/v1/leases', { attachment: attachment('b') })
  t.equal(full.status, 503)
  t.equal(full.type, 'application/problem+json')
  t.same(full.body, {
    type: 'urn:tulle:problem:pool-exhausted',
    title: 'The pool has no free address',
    status: 503,
    detail: 'pool "default" has no free IPv4 address: 1 leased, 0 cooling down, 1 in all',
    pool: 'default',
    family: 4,
    leased: 1,
    cooling: 0,
    reserved: 0,
    capacity: '1',
  })
  await post(socket, '/v1/leases/release', { attachment: attachment('a') })
  made.nowUnixMs += 12_000
  const status = await send(socket, { path: '/v1/status?pool=default' })
  t.equal(
    status.body['detail'],
    'pool "default" has no free IPv4 address: 0 leased, 1 cooling down, 1 in all, the next is free in 18 s',
  )
  made.nowUnixMs += 18_000
  t.equal((await send(socket, { path: '/v1/status?pool=default' })).status, 200)
  t.same(addressesOf((await post(socket, '/v1/leases', { attachment: attachment('b') })).body), ['10.0.0.2', 'fd00::3'])
})

t.test('the cooldown outlives a restart (R9)', async t => {
  const made = rig(t, { prefixes: ['10.0.0.0/30'] })
  const { socket, start } = made
  const daemon = await start()
  await post(socket, '/v1/leases', { attachment: attachment('a') })
  await post(socket, '/v1/leases/release', { attachment: attachment('a') })
  await daemon.close()
  await start()
  t.equal((await post(socket, '/v1/leases', { attachment: attachment('b') })).status, 503)
  made.nowUnixMs += 30_000
  t.equal((await post(socket, '/v1/leases', { attachment: attachment('b') })).status, 200)
})

t.test('GET /v1/pools reports blocks and counts', async t => {
  const { socket, start } = rig(t, { exclude: ['10.244.0.128/25'] })
  await start()
  await post(socket, '/v1/leases', { attachment: attachment('a') })
  t.same((await send(socket, { path: '/v1/pools' })).body, {
    pools: [
      {
        name: 'default',
        prefixes: ['10.244.0.0/16', 'fd00:10:244::/56'],
        blocks: [{ prefix: '10.244.0.0/24' }, { prefix: 'fd00:10:244::/64' }],
        leased: 1,
        cooling: 0,
        // 256 blocks of 253, without 127 (the broadcast address of the first block is never leased anyway).
        capacity: String(256 * 253 - 127),
        families: [
          { family: 4, leased: 1, cooling: 0, capacity: String(256 * 253 - 127) },
          // Of each /64 all but the first two.
          { family: 6, leased: 1, cooling: 0, capacity: String(256n * (2n ** 64n - 2n)) },
        ],
      },
    ],
  })
})
