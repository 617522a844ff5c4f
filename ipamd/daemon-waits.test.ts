import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { formatPrefix } from '../lib/net/prefix.ts'
import { attachment, rig, rawAllocate } from './fake-machine.ts'
import { post } from './test-request.ts'

/** Far more than closing takes, and less than a connection may lie idle. */
const SOON_MS = 4000

t.test('no address of a block is answered before the block is ready, at start too (R29)', async t => {
  const { socket, start } = rig(t)
  const blocks: string[] = []
  let isRefused = true
  const daemon = await start({
    async onBlockTaken(block) {
      if (isRefused) throw new Error('no route today')
      blocks.push(formatPrefix(block))
    },
  })
  const refused = await post(socket, '/v1/leases', { attachment: attachment('a') })
  t.match(refused, {
    status: 503,
    body: { type: 'urn:tulle:problem:busy', detail: /block 10.244.0.0\/24 is not ready: no route today/ },
  })
  isRefused = false
  t.equal((await post(socket, '/v1/leases', { attachment: attachment('a') })).body['isNew'], false)
  await post(socket, '/v1/leases', { attachment: attachment('b') })
  t.same(blocks, ['10.244.0.0/24', 'fd00:10:244::/64'], 'once for each block')
  await daemon.close()
  await start({ onBlockTaken: async block => void blocks.push(formatPrefix(block)) })
  t.equal(blocks.length, 4)
})

t.test('close() ends soon, also with a client that says nothing', async t => {
  const { socket, start } = rig(t)
  const daemon = await start()
  const client = connect(socket)
  await new Promise<void>(resolve => client.once('connect', resolve))
  const closed = new Promise<void>(resolve => client.once('close', () => resolve()))
  const startedAtMs = performance.now()
  await daemon.close()
  t.ok(performance.now() - startedAtMs < SOON_MS, `${performance.now() - startedAtMs} ms`)
  await closed
  t.notOk(existsSync(socket))
})

t.test('a block that takes too long is a refusal, not a connection that breaks', async t => {
  const { socket, start } = rig(t)
  await start({
    onBlockTaken: (_block, by) =>
      new Promise((_resolve, reject) => {
        setTimeout(() => reject(new Error('no route in time')), by.remainingMs())
      }),
  })
  t.match(await post(socket, '/v1/leases', { attachment: attachment('a') }), {
    status: 503,
    body: { type: 'urn:tulle:problem:busy' },
  })
})

t.test('close() ends soon, also with half a request, a request that waits, and a reader of the store', async t => {
  const { folder, socket, start } = rig(t)
  let waiting: () => void = () => {}
  const isWaiting = new Promise<void>(resolve => (waiting = resolve))
  const daemon = await start({
    onBlockTaken() {
      waiting()
      return new Promise(() => {})
    },
  })
  const half = connect(socket, () => half.write(rawAllocate('b').slice(0, -5)))
  const waits = post(socket, '/v1/leases', { attachment: attachment('a') }).catch(() => 'broken off')
  await isWaiting
  const reader = new DatabaseSync(join(folder, 'state', 'ipam.db'), { readOnly: true })
  t.teardown(() => reader.close())
  reader.exec('BEGIN; SELECT * FROM lease')
  const startedAtMs = performance.now()
  await daemon.close()
  t.ok(performance.now() - startedAtMs < SOON_MS, `${performance.now() - startedAtMs} ms`)
  t.equal(await waits, 'broken off')
})
