import './harness/isolated.ts'
import { execFileSync } from 'node:child_process'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { Background } from './harness/background.ts'
import { Ipamd, type IpamdOptions } from './harness/ipamd.ts'
import { type JsonObject } from './harness/json.ts'
import { type LeaseAnswer, addressesIn, callIpamd, problemText } from './harness/lease-client.ts'
import { BIN_FOLDER, RUN_FOLDER } from './harness/tulle.ts'
import { until } from './harness/until.ts'

// Pools and blocks of the built ipamd beside what the node itself uses (checklist R30, R31): the kernel is asked at start, and
// before each block is taken.

const SOCKET = join(RUN_FOLDER, 'ipamd.sock')
const POOL = { name: 'default', prefixes: ['10.244.0.0/16', 'fd00:10:244::/56'], blockPrefixLength: { ipv4: 30 } }

function ip(...words: readonly string[]): void {
  execFileSync('ip', words, { stdio: 'pipe' })
}

async function withOptions(config: JsonObject, test: (options: IpamdOptions) => Promise<void>): Promise<void> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'tulle-overlaps-'))
  const whole = { socket: SOCKET, stateDir: join(folder.path, 'state'), pools: [POOL], ...config }
  const options = { executable: join(BIN_FOLDER, 'ipamd'), configFile: join(folder.path, 'ipamd.json'), config: whole }
  ip('link', 'add', 'uplink', 'type', 'veth', 'peer', 'name', 'outside')
  ip('link', 'set', 'uplink', 'up')
  ip('link', 'set', 'outside', 'up')
  try {
    await test(options)
  } finally {
    ip('link', 'delete', 'uplink')
  }
}

async function allocate(containerId: string): Promise<LeaseAnswer> {
  const body = { attachment: { network: 'net', containerId, ifName: 'eth0' } }
  return await callIpamd(SOCKET, { path: '/v1/leases', body })
}

/** What an ipamd says that does not start. */
async function refusalToStart({ executable, config, configFile }: IpamdOptions): Promise<string> {
  await writeFile(configFile, JSON.stringify(config))
  await using daemon = Background.start([executable, '--config', configFile])
  const { exitCode } = await until('it gives up', () => daemon.ending)
  return `${exitCode}: ${daemon.lines.join('\n')}`
}

const atStart = [
  {
    name: 'a subnet of the node inside the pool',
    words: ['address', 'add', '10.244.7.5/24', 'dev', 'uplink'],
    want: '10.244.0.0/16 overlaps 10.244.7.0/24, address 10.244.7.5/24 dev uplink of the node',
  },
  {
    name: 'an IPv6 subnet of the node',
    words: ['address', 'add', 'fd00:10:244:7::5/64', 'dev', 'uplink'],
    want: 'fd00:10:244::/56 overlaps fd00:10:244:7::/64, address fd00:10:244:7::5/64 dev uplink of the node',
  },
  {
    name: 'a route around the pool',
    words: ['route', 'add', '10.0.0.0/8', 'dev', 'uplink'],
    want: '10.244.0.0/16 overlaps 10.0.0.0/8, route 10.0.0.0/8 dev uplink of the node',
  },
]
for (const { name, words, want } of atStart) {
  t.test(`ipamd does not start with ${name}, and starts when it is gone or allowed`, async t => {
    await withOptions({}, async options => {
      ip(...words)
      const refusal = await refusalToStart(options)
      t.ok(refusal.startsWith('1: ') && refusal.includes(want), refusal)
      const allowed = { ...options.config, allowedOverlaps: [/overlaps ([^,]*),/.exec(want)?.[1] ?? ''] }
      await using tolerant = await Ipamd.start({ ...options, config: allowed })
      await tolerant.stop()
      ip('address', 'flush', 'dev', 'uplink')
      ip('route', 'flush', 'dev', 'uplink')
      await using _ipamd = await Ipamd.start(options)
      t.equal((await allocate('a')).status, 200)
    })
  })
}

t.test('a default route, the node’s own ranges elsewhere, and what is ours do not count', async t => {
  await withOptions({}, async options => {
    ip('address', 'add', '192.0.2.5/24', 'dev', 'uplink')
    ip('route', 'add', 'default', 'via', '192.0.2.1')
    {
      await using ipamd = await Ipamd.start(options)
      t.same(addressesIn((await allocate('a')).body['lease']), ['10.244.0.2', 'fd00:10:244::2'])
      // As a bridge under tulle-ipam has it: the gateway of the block, with its length.
      ip('address', 'add', '10.244.0.1/30', 'dev', 'uplink')
      await ipamd.stop()
    }
    await using _ipamd = await Ipamd.start(options)
    t.equal((await allocate('b')).status, 200, 'the route of our block is there, and the gateway too')
  })
})

t.test(
  'a block that a new route of the node overlaps is not taken; leases go on; it is taken when the route is gone',
  async t => {
    await withOptions({}, async options => {
      await using _ipamd = await Ipamd.start(options)
      t.equal((await allocate('a')).status, 200)
      ip('route', 'add', '10.244.0.4/31', 'dev', 'uplink')
      const refused = await allocate('b')
      t.equal(refused.status, 409)
      t.match(
        problemText(refused.body),
        'urn:tulle:problem:overlaps: 10.244.0.4/30 overlaps 10.244.0.4/31, route 10.244.0.4/31 dev uplink of the node',
      )
      t.equal((await callIpamd(SOCKET, { path: '/v1/status' })).status, 409, 'STATUS knows')
      t.same(
        addressesIn((await allocate('a')).body['lease']),
        ['10.244.0.2', 'fd00:10:244::2'],
        'who has a lease keeps it',
      )
      ip('route', 'delete', '10.244.0.4/31', 'dev', 'uplink')
      t.equal((await callIpamd(SOCKET, { path: '/v1/status' })).status, 200)
      t.same(addressesIn((await allocate('b')).body['lease']), ['10.244.0.6', 'fd00:10:244::3'])
    })
  },
)

t.test('a pod CIDR that overlaps a service range or a subnet of the node is refused', async t => {
  const pools = [{ name: 'pods', blockSource: { type: 'kubernetes' } }]
  await withOptions({ pools, serviceRanges: ['10.96.0.0/12'] }, async options => {
    await using _ipamd = await Ipamd.start(options)
    ip('address', 'add', '10.244.1.9/24', 'dev', 'uplink')
    const handOver = (podCidr: string): Promise<LeaseAnswer> =>
      callIpamd(SOCKET, { method: 'PUT', path: '/v1/pod-cidrs', body: { podCidrs: [podCidr] } })
    const service = await handOver('10.97.1.0/24')
    t.match(
      [service.status, problemText(service.body)],
      [409, /10.97.1.0\/24 overlaps 10.96.0.0\/12, serviceRanges\[0\]/],
    )
    const subnet = await handOver('10.244.1.0/24')
    t.match(
      [subnet.status, problemText(subnet.body)],
      [409, /overlaps 10.244.1.0\/24, address 10.244.1.9\/24 dev uplink/],
    )
    t.equal((await handOver('10.244.2.0/24')).status, 200)
    t.same(addressesIn((await allocate('a')).body['lease']), ['10.244.2.2'])
  })
})
