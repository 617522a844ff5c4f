import t from 'tap'
import type { Ipam } from '../../lib/attach/edges.ts'
import { SUPPORTED_VERSIONS } from '../../lib/cni/version.ts'
import { IpamProblem, IpamUnavailable } from '../../lib/ipam/errors.ts'
import type { Lease } from '../../lib/ipam/lease.ts'
import type { SpoolEntry } from '../../lib/ipam/spool-entry.ts'
import { parseAddress } from '../../lib/net/address.ts'
import { parsePrefix } from '../../lib/net/prefix.ts'
import type { Outcome } from '../../lib/attach/plugin-run.ts'
import { run, type IpamEdges } from './run.ts'

const ATTACHMENT = { network: 'net', containerId: 'c1', ifName: 'eth0' }
const LEASE: Lease = {
  attachment: ATTACHMENT,
  pool: 'default',
  addresses: [
    { address: parseAddress('10.244.1.7'), block: parsePrefix('10.244.1.0/24'), gateway: parseAddress('10.244.1.1') },
    { address: parseAddress('fd00::7'), block: parsePrefix('fd00::/64'), gateway: parseAddress('fd00::1') },
  ],
  leasedAtUnixMs: 1,
}
// What the reference bridge and macvlan put beside `ipam`: none of it is ours to judge.
const CONFIG = {
  cniVersion: '1.1.0',
  name: 'net',
  type: 'bridge',
  mode: 'bridge',
  ipMasq: true,
  ipam: { type: 'tulle-ipam' },
}

interface Rig {
  readonly asked: unknown[]
  readonly spooled: SpoolEntry[]
  readonly edges: IpamEdges
}

function rig(ipam: Partial<Ipam> = {}): Rig {
  const asked: unknown[] = []
  const spooled: SpoolEntry[] = []
  const answers: Ipam = {
    allocate: async () => ({ lease: LEASE, isNew: true, whenDurable: async () => {} }),
    release: async () => true,
    collect: async () => ({ released: [] }),
    find: async () => LEASE,
    status: async () => {},
    ...ipam,
  }
  const watched: Ipam = {
    allocate: (request, by) => (
      asked.push(['allocate', { ...request, deadlineUnixMs: 0 }]),
      answers.allocate(request, by)
    ),
    release: (request, by) => (
      asked.push(['release', { ...request, deadlineUnixMs: 0 }]),
      answers.release(request, by)
    ),
    collect: (request, by) => (
      asked.push(['collect', { ...request, deadlineUnixMs: 0 }]),
      answers.collect(request, by)
    ),
    find: (attachment, by) => (asked.push(['find', attachment]), answers.find(attachment, by)),
    status: (pool, by) => (asked.push(['status', pool]), answers.status(pool, by)),
  }
  const edges: IpamEdges = {
    ipam: socketPath => (asked.push(socketPath), watched),
    lock: async () => ({ [Symbol.dispose]: () => {} }),
    spoolRelease: (_socketPath, entry) => void spooled.push(entry),
    nowUnixMs: () => 1234,
    log: () => {},
  }
  return { asked, spooled, edges }
}

function call(
  command: string,
  config: object,
  on: IpamEdges | { readonly edges: IpamEdges; readonly args: string },
): Promise<Outcome> {
  const { edges, args } = 'edges' in on ? on : { edges: on, args: '' }
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: 'c1',
    CNI_NETNS: '/run/netns/x',
    CNI_IFNAME: 'eth0',
    CNI_PATH: '/x',
    CNI_ARGS: args,
  }
  return run({ env, readStdin: () => JSON.stringify(config) }, edges)
}

function documentOf({ stdout }: Outcome): unknown {
  return JSON.parse(stdout)
}

t.test('ADD leases by attachment, from the pool and the socket of the configuration', async t => {
  const { asked, edges } = rig()
  const ipam = { type: 'tulle-ipam', socket: '/run/x.sock', pool: 'p' }
  const outcome = await call('ADD', { ...CONFIG, ipam }, edges)
  t.equal(outcome.exitCode, 0)
  t.same(asked, ['/run/x.sock', ['allocate', { attachment: ATTACHMENT, pool: 'p', deadlineUnixMs: 0 }]])
})

const IPS = [
  { address: '10.244.1.7/24', gateway: '10.244.1.1' },
  { address: 'fd00::7/64', gateway: 'fd00::1' },
]
const IPS_WITH_VERSION = IPS.map((ip, index) => ({ version: index === 0 ? '4' : '6', ...ip }))
const OLD = { ip4: { ip: '10.244.1.7/24', gateway: '10.244.1.1' }, ip6: { ip: 'fd00::7/64', gateway: 'fd00::1' } }
for (const cniVersion of SUPPORTED_VERSIONS) {
  t.test(
    `ADD answers in version ${cniVersion}, without interfaces and with no route that is not configured`,
    async t => {
      const outcome = await call('ADD', { ...CONFIG, cniVersion }, rig().edges)
      const body = cniVersion < '0.3.0' ? OLD : { ips: cniVersion < '1.0.0' ? IPS_WITH_VERSION : IPS }
      t.same(documentOf(outcome), { cniVersion, ...body })
    },
  )
}

t.test('ADD passes on the routes of the ipam section and the resolver settings, as host-local does', async t => {
  const ipam = { type: 'tulle-ipam', routes: [{ dst: '0.0.0.0/0' }, { dst: '10.9.0.0/16', gw: '10.244.1.9' }] }
  const outcome = await call('ADD', { ...CONFIG, ipam, dns: { nameservers: ['10.0.0.10'] } }, rig().edges)
  t.match(documentOf(outcome), { routes: ipam.routes, dns: { nameservers: ['10.0.0.10'] } })
})

const refusals = [
  {
    name: 'a route that is none',
    config: { ...CONFIG, ipam: { type: 'tulle-ipam', routes: [{ dst: 'x' }] } },
    code: 7,
    msg: /ipam.routes\[0\].dst/,
  },
  {
    name: 'a relative socket',
    config: { ...CONFIG, ipam: { type: 'tulle-ipam', socket: 'x' } },
    code: 7,
    msg: /ipam.socket "x"/,
  },
  { name: 'a missing ipam section', config: { ...CONFIG, ipam: null }, code: 7, msg: /ipam is missing/ },
  {
    name: 'a requested address that is none',
    config: { ...CONFIG, args: { cni: { ips: ['10.244.1'] } } },
    code: 7,
    msg: /^args\.cni\.ips\[0\]: Cannot parse address "10\.244\.1"/,
  },
  {
    name: 'a gateway of somebody else in requested ranges',
    config: { ...CONFIG, runtimeConfig: { ipRanges: [[{ subnet: '10.0.0.0/24', gateway: '10.0.0.1' }]] } },
    code: 2,
    msg: /^runtimeConfig\.ipRanges\[0\]\[0\]\.gateway "10\.0\.0\.1" is not supported/,
  },
] as const
for (const { name, config, code, msg } of refusals) {
  t.test(`ADD refuses ${name}, and leases nothing (invariant 8)`, async t => {
    const { asked, edges } = rig()
    const outcome = await call('ADD', config, edges)
    t.match(documentOf(outcome), { cniVersion: '1.1.0', code, msg })
    t.equal(outcome.exitCode, 1)
    t.same(asked, [])
  })
}

t.test('ADD leaves capabilities of the interface plugin alone', async t => {
  const outcome = await call('ADD', { ...CONFIG, runtimeConfig: { mac: '02:00:00:00:00:01' } }, rig().edges)
  t.equal(outcome.exitCode, 0)
})

t.test('ADD asks ipamd for what the configuration, the runtime and the pod ask for (E8, R33)', async t => {
  const { asked, edges } = rig()
  const args = 'K8S_POD_NAMESPACE=ns;K8S_POD_NAME=db-0'
  const runtimeConfig = {
    ips: ['10.244.1.7/24'],
    'io.kubernetes.cri.pod-annotations': { 'tulle.dev/addresses': 'fd00::7', 'tulle.dev/sticky': '10m' },
  }
  await call('ADD', { ...CONFIG, runtimeConfig }, { edges, args })
  const wish = { addresses: [parseAddress('10.244.1.7')], owner: 'ns/db-0', stickySeconds: 600 }
  t.match(asked[1], ['allocate', { attachment: ATTACHMENT, ...wish, pod: { namespace: 'ns', name: 'db-0' } }])
})

t.test('ADD maps what ipamd refuses', async t => {
  const exhausted = rig({
    allocate: async () => Promise.reject(new IpamProblem('pool-exhausted', 'pool "p" has no free IPv4 address')),
  })
  t.match(documentOf(await call('ADD', CONFIG, exhausted.edges)), {
    code: 101,
    msg: 'pool "p" has no free IPv4 address',
  })
  const down = rig({ allocate: async () => Promise.reject(new IpamUnavailable('/run/x.sock', 'ENOENT')) })
  t.match(documentOf(await call('ADD', CONFIG, down.edges)), { code: 11 })
})

t.test('DEL releases by attachment and prints nothing (O6)', async t => {
  const { asked, spooled, edges } = rig({ release: async () => false })
  t.same(await call('DEL', CONFIG, edges), { stdout: '', stderr: '', exitCode: 0 })
  t.same(asked, ['/run/tulle/ipamd.sock', ['release', { attachment: ATTACHMENT, deadlineUnixMs: 0 }]])
  t.same(spooled, [])
})

t.test('DEL spools the release while ipamd does not take it (R13)', async t => {
  for (const failure of [new IpamUnavailable('/s', 'ECONNREFUSED'), new IpamProblem('store-failed', 'disk full')]) {
    const { spooled, edges } = rig({ release: async () => Promise.reject(failure) })
    t.equal((await call('DEL', CONFIG, edges)).exitCode, 0)
    t.same(spooled, [{ attachment: ATTACHMENT, releasedAtUnixMs: 1234 }])
  }
})

t.test('DEL waits five seconds for a daemon that hangs, and not for as long as DEL may take (R13)', async t => {
  const waitsMs: number[] = []
  const { edges, spooled } = rig({
    release: async (_request, by) => {
      waitsMs.push(by.remainingMs())
      throw new IpamUnavailable('/s', 'no answer in time')
    },
  })
  t.equal((await call('DEL', CONFIG, edges)).exitCode, 0)
  t.ok(waitsMs.length === 1 && (waitsMs[0] ?? 0) <= 5_000, `${waitsMs.join()} ms`)
  t.equal(spooled.length, 1)
})

t.test('DEL does not fail on a configuration that ADD would refuse (D6)', async t => {
  const { asked, edges } = rig()
  const ipam = { type: 'tulle-ipam', socket: 7, routes: 'x' }
  t.equal((await call('DEL', { ...CONFIG, ipam, prevResult: { cniVersion: '9.9.9' } }, edges)).exitCode, 0)
  t.equal(asked.length, 2)
})

t.test('CHECK wants the lease, and its addresses in prevResult (K1, K3, K4)', async t => {
  const prevResult = { cniVersion: '1.1.0', ips: [...IPS, { address: '192.168.0.1/24' }] }
  t.equal((await call('CHECK', { ...CONFIG, prevResult }, rig().edges)).stdout, '')
  t.match(documentOf(await call('CHECK', CONFIG, rig().edges)), { code: 7, msg: /prevResult/ })
  const gone = rig({ find: async () => undefined })
  t.match(documentOf(await call('CHECK', { ...CONFIG, prevResult }, gone.edges)), {
    code: 106,
    msg: /no lease for net\/c1\/eth0/,
  })
  const other = { ...prevResult, ips: [{ address: '10.244.1.7/24' }] }
  t.match(documentOf(await call('CHECK', { ...CONFIG, prevResult: other }, rig().edges)), { code: 106, msg: /fd00::7/ })
  t.match(documentOf(await call('CHECK', { ...CONFIG, cniVersion: '0.3.1', prevResult }, rig().edges)), { code: 1 })
})

t.test('GC frees what is not valid, and without a list nothing (G1, G3)', async t => {
  const { asked, edges } = rig()
  t.equal((await call('GC', CONFIG, edges)).exitCode, 0)
  t.same(asked, [])
  const list = [{ containerID: 'c1', ifname: 'eth0' }]
  t.equal((await call('GC', { ...CONFIG, 'cni.dev/valid-attachments': list }, edges)).stdout, '')
  const valid = [{ containerId: 'c1', ifName: 'eth0' }]
  t.same(asked, ['/run/tulle/ipamd.sock', ['collect', { network: 'net', valid, deadlineUnixMs: 0 }]])
})

t.test('STATUS is code 50 when an ADD would get no address (S1, S2, S3)', async t => {
  t.equal((await call('STATUS', CONFIG, rig().edges)).stdout, '')
  for (const failure of [
    new IpamUnavailable('/s', 'ECONNREFUSED'),
    new IpamProblem('pool-exhausted', 'no free address'),
  ]) {
    const { edges } = rig({ status: async () => Promise.reject(failure) })
    t.match(documentOf(await call('STATUS', CONFIG, edges)), { code: 50, msg: failure.message })
  }
})

t.test('VERSION echoes the version and lists ours; no command is a line for people (V1, V2, E2)', async t => {
  t.same(documentOf(await call('VERSION', { cniVersion: '0.4.0' }, rig().edges)), {
    cniVersion: '0.4.0',
    supportedVersions: SUPPORTED_VERSIONS,
  })
  const about = await run({ env: {}, readStdin: () => '' }, rig().edges)
  t.match(about, { stdout: '', exitCode: 0, stderr: /CNI protocol versions supported: 0.1.0/ })
})

t.test('a bug is one error document too (invariant 5)', async t => {
  const { edges } = rig({ allocate: async () => Promise.reject(new TypeError('x is undefined')) })
  t.match(documentOf(await call('ADD', CONFIG, edges)), { code: 999, msg: 'x is undefined' })
})
