import './harness/isolated.ts'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { createInterface } from 'node:readline'
import t from 'tap'
import { type JsonObject, asObjects } from './harness/json.ts'
import { TulleNode } from './harness/tulle-node.ts'
import { BIN_FOLDER } from './harness/tulle.ts'

// The built tullectl against the built ipamd, with pods that the built plugin attaches.

const TULLECTL = join(BIN_FOLDER, 'tullectl')
const TIMEOUT_MS = 20_000

interface Ended {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

function tullectl(...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = execFile(TULLECTL, args, { timeout: TIMEOUT_MS }, (failure, stdout, stderr) => {
      // A failure without an exit code: it could not be started, or ran out of time.
      if (failure !== null && typeof failure.code !== 'number') reject(failure)
      else resolve({ exitCode: child.exitCode ?? -1, stdout, stderr })
    })
  })
}

async function json(...args: readonly string[]): Promise<JsonObject> {
  const { exitCode, stdout, stderr } = await tullectl(...args, '--output', 'json')
  if (exitCode !== 0) throw new Error(`tullectl ${args.join(' ')}: ${exitCode} ${stderr}`)
  return JSON.parse(stdout) as JsonObject
}

const node = await TulleNode.start()
t.teardown(() => node[Symbol.asyncDispose]())

t.test('tullectl shows a pod from ADD to DEL: leases, pools, blocks, history', async t => {
  const pod = await node.attach()
  const attachment = `pods/${pod.attachment.containerId}/eth0`

  t.match(await tullectl('status'), { exitCode: 0, stdout: /^ipamd at \/run\/tulle\/ipamd\.sock: ready\n/, stderr: '' })
  const leases = await tullectl('leases', '--address', pod.ipv4)
  t.equal(leases.exitCode, 0, leases.stderr)
  t.equal(leases.stdout.split('\n').length, 3, 'a header and one lease')
  t.ok(leases.stdout.includes(`${pod.ipv4}, ${pod.ipv6}`), leases.stdout)
  t.ok(leases.stdout.includes(attachment), leases.stdout)
  t.equal(asObjects((await json('leases', '--address', pod.ipv6))['leases'], 'leases').length, 1)
  t.equal(asObjects((await json('leases', '--pod', 'no/such'))['leases'], 'leases').length, 0)
  t.match(await json('pools'), { pools: [{ name: 'default', leased: 1 }] })
  t.match((await tullectl('blocks')).stdout, /^BLOCK .*\n10\.244\.0\.0\/24 +default +1 /)

  const holding = await tullectl('history', pod.ipv4, '--at', new Date().toISOString())
  t.match(holding.stdout, new RegExp(`now .*${attachment}`), holding.stderr)
  await node.detach(pod)
  const after = await json('history', pod.ipv4)
  t.match(asObjects(after['tenures'], 'tenures')[0], {
    attachment: { containerId: pod.attachment.containerId },
    reason: 'del',
  })
  t.equal(asObjects((await json('leases'))['leases'], 'leases').length, 0)
})

t.test('tullectl release wants --force, and then frees both addresses', async t => {
  await using pod = await node.attach()
  const refused = await tullectl('release', pod.ipv4)
  t.equal(refused.exitCode, 1)
  t.match(refused.stdout, /nothing was released: --force releases it\n$/)
  t.equal((await node.leases()).length, 1)
  const released = await tullectl('release', pod.ipv4, '--force')
  t.match(released, { exitCode: 0, stdout: /^released /, stderr: '' })
  t.same(await node.leases(), [])
  t.match((await tullectl('history', pod.ipv4)).stdout, / force\n/)
  t.match(await tullectl('release', pod.ipv4, '--force'), { exitCode: 1, stdout: /^no lease of / })
  await node.detach(pod)
})

t.test('tullectl reserve keeps an address from every pod, over a restart, until unreserve', async t => {
  const address = '10.244.0.77'
  t.match(await tullectl('reserve', address, 'shop/web-0', '--note', 'kept'), { exitCode: 0, stdout: /^reserved / })
  t.match(await tullectl('reserve', address, 'shop/web-1'), { exitCode: 1, stderr: /10\.244\.0\.77.*shop\/web-0/ })
  t.match(await tullectl('reserve', '192.0.2.99', 'shop/web-0'), { exitCode: 1, stderr: /192\.0\.2\.99/ })
  await node.stopIpamd()
  await node.startIpamd()
  t.match((await tullectl('reservations')).stdout, /\n10\.244\.0\.77 +shop\/web-0 +default +kept\n$/)
  t.match(await tullectl('unreserve', address), { exitCode: 0 })
  t.match(await tullectl('unreserve', address), { exitCode: 1, stdout: '10.244.0.77 was not reserved\n' })
})

t.test('tullectl backup writes a copy for our eyes only, which has the leases, and overwrites nothing', async t => {
  const pod = await node.attach()
  const file = join(node.folder, 'copy.db')
  t.match(await tullectl('backup', file), { exitCode: 0, stdout: `wrote ${file}, `, stderr: '' })
  t.equal(statSync(file).mode & 0o777, 0o600)
  using copy = new DatabaseSync(file, { readOnly: true })
  t.match(copy.prepare('SELECT container_id FROM lease').all(), [{ container_id: pod.attachment.containerId }])
  t.match(copy.prepare('PRAGMA integrity_check').get(), { integrity_check: 'ok' })
  const { size } = statSync(file)
  t.match(await tullectl('backup', file), { exitCode: 1, stderr: /EEXIST: want a path where no file is/ })
  t.equal(statSync(file).size, size)
  await node.detach(pod)
})

t.test('tullectl check finds an interface whose lease was released by hand: exit code 4', async t => {
  const pod = await node.attach()
  t.match(await tullectl('check'), { exitCode: 0, stdout: 'the store and the kernel agree\n', stderr: '' })
  await tullectl('release', pod.ipv4, '--force')
  const found = await tullectl('check')
  t.equal(found.exitCode, 4, found.stderr)
  t.match(found.stdout, /^FINDING .*\nlink-without-lease /)
  t.match(found.stdout, pod.ipv4)
  await node.detach(pod)
  t.match(await tullectl('check'), { exitCode: 0 })
})

t.test('tullectl reconcile --dry-run leaves a live pod alone (R6)', async t => {
  const pod = await node.attach()
  t.match(await tullectl('reconcile', '--dry-run'), { exitCode: 0, stdout: 'nothing to do\n', stderr: '' })
  t.equal((await node.leases()).length, 1)
  await node.detach(pod)
})

t.test('tullectl watch shows what happens, and fails when ipamd ends: exit code 3', async t => {
  const child = spawn(TULLECTL, ['watch', '--since', '0', '--output', 'json'], { stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill('SIGKILL'))
  let stderr = ''
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const ended = once(child, 'exit')
  const lines = createInterface({ input: child.stdout, signal: AbortSignal.timeout(TIMEOUT_MS) })[
    Symbol.asyncIterator
  ]()
  const seen: JsonObject[] = []
  async function until(isIt: (event: JsonObject) => boolean): Promise<void> {
    for (;;) {
      const { value, done } = await lines.next()
      if (done === true) throw new Error(`watch ended: ${stderr}`)
      const event = JSON.parse(value) as JsonObject
      seen.push(event)
      if (isIt(event)) return
    }
  }
  await until(({ kind }) => kind === 'block-taken')
  const pod = await node.attach()
  await until(({ kind, address }) => kind === 'leased' && address === pod.ipv6)
  await node.detach(pod)
  await until(({ kind, address }) => kind === 'released' && address === pod.ipv6)
  const ids = seen.map(event => Number(event['id']))
  t.same(
    ids,
    ids.toSorted((a, b) => a - b),
  )

  await node.stopIpamd()
  t.same(await ended, [3, null])
  t.match(stderr, /^tullectl: ipamd at \/run\/tulle\/ipamd\.sock: the stream of events /)
})

t.test('tullectl says that ipamd is down and what to look at: exit code 3', async t => {
  await node.stopIpamd()
  const { exitCode, stdout, stderr } = await tullectl('status')
  t.equal(exitCode, 3)
  t.equal(stdout, '')
  t.match(
    stderr,
    /^tullectl: ipamd at \/run\/tulle\/ipamd\.sock: nobody listens .*\nThere is no such socket\. Does ipamd run/,
  )
  await node.startIpamd()
  t.match(await tullectl('status'), { exitCode: 0 })
})

t.test('tullectl ends quietly when its reader goes away', async t => {
  const child = spawn('sh', ['-c', `"$0" help | head -n 1; "$0" pools | true`, TULLECTL], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const output: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => output.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => output.push(chunk))
  await once(child, 'close')
  t.equal(Buffer.concat(output).toString(), 'Usage: tullectl [OPTION ...] COMMAND [ARGUMENT ...]\n')
})

t.test('tullectl takes wrong arguments for what they are: exit code 2', async t => {
  t.match(await tullectl('leases', '--colour'), {
    exitCode: 2,
    stdout: '',
    stderr: /^tullectl: Unknown option '--colour'/,
  })
})
