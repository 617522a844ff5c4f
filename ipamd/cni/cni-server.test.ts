import { mkdirSync, openSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import type { Ipam } from '../../lib/attach/edges.ts'
import type { Deadline } from '../../lib/time/deadline.ts'
import type { NativeAddon } from '../../native/addon.ts'
import { CniServer } from './cni-server.ts'

// What ipamd refuses to do for a launcher before it does anything. What it does is tested on the kernel: e2e/netns/served.

const NOW_MS = 1_000_000
const CONFIGURATION = { cniVersion: '1.1.0', name: 'pods', type: 'tulle', ipam: { type: 'tulle-ipam' } }

interface Call {
  readonly env?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string | undefined>>
  readonly configuration?: object
}

function serverOf(t: Test, ipam: Partial<Ipam> = {}) {
  const folder = join(t.testdir(), 'tulle')
  mkdirSync(folder)
  const declined: string[] = []
  const addon: Partial<NativeAddon> = {
    openOwnNetns: () => ({ fd: openSync('/dev/null', 'r'), device: 4n, inode: 7n }),
    watchDeletedLinks: () => () => {},
    openNetns: () => ({ fd: openSync('/dev/null', 'r'), device: 4n, inode: 8n }),
  }
  const server = new CniServer({
    addon: addon as NativeAddon,
    ipam: ipam as Ipam,
    socketPath: '/run/tulle/ipamd.sock',
    lockSocketPath: join(folder, 'ipamd.sock'),
    nowUnixMs: () => 1,
    monotonicMs: () => NOW_MS,
    log: { info: () => {}, warn: () => {}, error: () => {} },
    counters: { countServed: () => {}, countDeclined: reason => void declined.push(reason) },
  })
  const { dev, ino } = statSync(folder, { bigint: true })
  const good = {
    'Tulle-Deadline': String(NOW_MS + 5000),
    'Tulle-Host-Netns': '4:7',
    'Tulle-Pod-Netns': '4:8',
    'Tulle-Run-Folder': `${dev}:${ino}`,
  }
  const serve = ({ env, headers, configuration }: Call) => {
    const invocation = {
      CNI_COMMAND: 'ADD',
      CNI_CONTAINERID: 'c1',
      CNI_IFNAME: 'eth0',
      CNI_NETNS: '/run/netns/x',
      ...env,
    }
    const said = Object.entries({ ...good, ...headers }).filter(([, value]) => value !== undefined)
    const variables = Object.entries(invocation).map(([name, value]) => [`Env-${name}`, value])
    const raw = [...said, ...variables].flat()
    return server.serve(raw, Buffer.from(JSON.stringify({ ...CONFIGURATION, ...configuration })))
  }
  return { server, serve, declined }
}

const DECLINED: readonly (Call & { readonly reason: string })[] = [
  { reason: 'other-node', headers: { 'Tulle-Host-Netns': '4:9' } },
  { reason: 'other-node', headers: { 'Tulle-Host-Netns': undefined } },
  { reason: 'other-locks', headers: { 'Tulle-Run-Folder': '1:1' } },
  { reason: 'other-locks', headers: { 'Tulle-Run-Folder': undefined } },
  { reason: 'other-namespace', headers: { 'Tulle-Pod-Netns': '4:9' } },
  { reason: 'other-namespace', headers: { 'Tulle-Pod-Netns': undefined } },
  { reason: 'other-ipamd', configuration: { ipam: { type: 'tulle-ipam', socket: '/run/other.sock' } } },
  { reason: 'delegated-ipam', configuration: { ipam: { type: 'host-local' } } },
  { reason: 'late', headers: { 'Tulle-Deadline': String(NOW_MS) } },
  { reason: 'other-clock', headers: { 'Tulle-Deadline': String(NOW_MS + 600_000) } },
]
for (const call of DECLINED) {
  t.test(`serve() declines: ${call.reason} ${JSON.stringify(call.headers ?? call.configuration)}`, async t => {
    const { serve, declined } = serverOf(t)
    const before = readdirSync('/proc/self/fd').length
    const refusal: unknown = await serve(call).catch((failure: unknown) => failure)
    t.match(refusal, { type: 'declined', members: { reason: call.reason } })
    t.same(declined, [call.reason])
    t.equal(readdirSync('/proc/self/fd').length, before, 'no descriptor is left open')
  })
}

t.test('serve() declines while the daemon stops, and close() waits for what is at work', async t => {
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>()
  const { promise: ready, resolve: answer } = Promise.withResolvers<void>()
  const { server, serve } = serverOf(t, { status: () => (ask(), ready) })
  const status = serve({ env: { CNI_COMMAND: 'STATUS' } })
  await asked
  t.same(server.load, { atWork: 1, waiting: 0 })
  const closed = server.close()
  const refusal: unknown = await serve({}).catch((failure: unknown) => failure)
  t.match(refusal, { type: 'declined', members: { reason: 'draining' } })
  let isClosed = false
  void closed.then(() => (isClosed = true))
  await new Promise(resolve => setImmediate(resolve))
  t.equal(isClosed, false)
  answer()
  t.same(await status, { stdout: '', stderr: '', exitCode: 0 })
  await closed
  t.same(server.load, { atWork: 0, waiting: 0 })
})

t.test('serve() turns callers away with code 11 and the depth of the queue when there are too many (R14)', async t => {
  const { promise: ready, resolve: answer } = Promise.withResolvers<void>()
  const { serve } = serverOf(t, { status: () => ready })
  const many = Array.from({ length: 512 }, () => serve({ env: { CNI_COMMAND: 'STATUS' } }))
  const { stdout, exitCode } = await serve({ env: { CNI_COMMAND: 'STATUS' }, configuration: { cniVersion: '1.0.0' } })
  t.equal(exitCode, 1)
  t.match(JSON.parse(stdout), { cniVersion: '1.0.0', code: 11, msg: /512 calls at work, 0 waiting/ })
  answer()
  t.ok((await Promise.all(many)).every(outcome => outcome.exitCode === 0))
})

t.test('serve() declines what failed for want of time: the plugin has time of its own', async t => {
  const { serve, declined } = serverOf(t, { status: (_pool, by) => untilPast(by) })
  const headers = { 'Tulle-Deadline': String(NOW_MS + 1) }
  const refusal: unknown = await serve({ env: { CNI_COMMAND: 'STATUS' }, headers }).catch((failure: unknown) => failure)
  t.match(refusal, { type: 'declined', members: { reason: 'late' } })
  t.same(declined, ['late'])
})

/** What a wait for the kernel comes to whose deadline passes. */
async function untilPast(by: Deadline): Promise<void> {
  while (!by.isPast()) await new Promise(resolve => setImmediate(resolve))
  by.throwIfPast('waiting')
}

t.test('serve() answers what is wrong with the input as the executable does', async t => {
  const { serve } = serverOf(t)
  const { stdout, exitCode } = await serve({ env: { CNI_CONTAINERID: '' } })
  t.equal(exitCode, 1)
  t.match(JSON.parse(stdout), { code: 4, msg: 'required env variables [CNI_CONTAINERID] missing' })
})
