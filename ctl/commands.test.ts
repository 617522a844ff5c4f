import t from 'tap'
import { IpamProblem } from '../lib/ipam/errors.ts'
import type { Report, Shown, Stream } from './command.ts'
import { parseCommandLine } from './command-line.ts'
import { fakeAsk, type Answers, type FakeAsk } from './fake-ask.ts'
import { PLAIN } from './style.ts'

const NOW = Date.parse('2026-11-23T15:00:00Z')
const AT = Date.parse('2026-11-23T14:03:00Z')

function lease(id: number, { address = '10.244.0.2', pod = true } = {}): object {
  return {
    id,
    attachment: { network: 'tulle', containerId: `c${id}`, ifName: 'eth0' },
    pool: 'default',
    addresses: [
      { address, prefixLength: 24, block: '10.244.0.0/24', gateway: '10.244.0.1' },
      { address: 'fd00:10:244::2', prefixLength: 64, block: 'fd00:10:244::/64', gateway: 'fd00:10:244::1' },
    ],
    leasedAtUnixMs: AT,
    ...(pod ? { pod: { namespace: 'shop', name: 'web-0' } } : {}),
  }
}

function pool(leased: number, name = 'default'): object {
  const prefixes = ['10.244.0.0/16', 'fd00:10:244::/56']
  return { name, prefixes, blocks: [{ prefix: '10.244.0.0/24' }], leased, cooling: 1, capacity: '250' }
}

const FIRST_PAGE = 'GET /v1/leases?after=0'

/** Carries out a command line. */
async function outcome(args: readonly string[], ask: FakeAsk): Promise<Report | Stream> {
  const line = parseCommandLine(args, NOW)
  if (line.do !== 'run') throw new Error(JSON.stringify(line))
  return line.action(ask)
}

async function report(args: readonly string[], answers: Answers | FakeAsk): Promise<Report> {
  const found = await outcome(args, isAsk(answers) ? answers : fakeAsk(answers))
  if ('parts' in found) throw new Error('a stream')
  return found
}

function isAsk(answers: Answers | FakeAsk): answers is FakeAsk {
  return 'asked' in answers
}

async function table(args: readonly string[], answers: Answers): Promise<string> {
  return (await report(args, answers)).text(PLAIN)
}

t.test('pools shows each pool', async t => {
  const document = { pools: [pool(5), pool(250, 'full')] }
  const found = await report(['pools'], { 'GET /v1/pools': document })
  t.equal(
    found.text(PLAIN),
    `\
POOL     LEASED  COOLING  CAPACITY  USED     BLOCKS  PREFIXES
default  5       1        250       2.0 %    1       10.244.0.0/16, fd00:10:244::/56
full     250     1        250       100.0 %  1       10.244.0.0/16, fd00:10:244::/56
`,
  )
  t.equal(found.document, document)
  t.match(
    found.text((format, text) => `<${format}>${text}`),
    '<red>100.0 %',
  )
})

const IDLE = { atWork: 0, waiting: 0, fallbacks: [] }

t.test('status says of each pool whether a new pod would get an address', async t => {
  const found = await report(['status'], {
    'GET /v1/pools': { pools: [pool(5)] },
    'GET /v1/status?pool=default': { ready: true },
    'GET /v1/served': IDLE,
  })
  t.equal(found.exitCode, undefined)
  t.equal(
    found.text(PLAIN),
    `\
ipamd at /run/tulle/ipamd.sock: ready

POOL     READY  LEASED  COOLING  CAPACITY  USED
default  yes    5       1        250       2.0 %
`,
  )
})

t.test('status fails when one pool has no address to give, and says why', async t => {
  const problem = new IpamProblem('pool-exhausted', 'pool "full": no free address')
  const found = await report(['status'], {
    'GET /v1/pools': { pools: [pool(5), pool(250, 'full')] },
    'GET /v1/status?pool=default': { ready: true },
    'GET /v1/status?pool=full': problem,
    'GET /v1/served': IDLE,
  })
  t.equal(found.exitCode, 1)
  t.equal(
    found.text(PLAIN),
    `\
ipamd at /run/tulle/ipamd.sock: not ready

POOL     READY  LEASED  COOLING  CAPACITY  USED
default  yes    5       1        250       2.0 %
full     no     250     1        250       100.0 %

full: pool "full": no free address
`,
  )
  t.match(found.document, { ready: false, pools: [{ ready: true }, { ready: false, problem: problem.toWire() }] })
})

t.test('pod-cidrs shows what was handed over and what drains, or that nothing was', async t => {
  const path = 'GET /v1/pod-cidrs'
  const handed = { pool: 'pods', podCidrs: ['10.244.1.0/24'], draining: ['10.244.9.0/24'] }
  t.equal(
    await table(['pod-cidrs'], { [path]: handed }),
    `\
POD CIDR       POOL  STATE
10.244.1.0/24  pods  in use
10.244.9.0/24  pods  draining
`,
  )
  const nothing = { pool: 'pods', podCidrs: [], draining: [] }
  t.equal(await table(['pod-cidrs'], { [path]: nothing }), 'nothing was handed over for pool pods yet\n')
})

t.test('status names the calls that were done without ipamd, which is slow and should not be', async t => {
  const fallbacks = [{ verb: 'ADD', reason: 'unreachable', calls: 3, lastSeenUnixMs: AT }]
  const found = await report(['status'], {
    'GET /v1/pools': { pools: [pool(5)] },
    'GET /v1/status?pool=default': { ready: true },
    'GET /v1/served': { ...IDLE, fallbacks },
  })
  t.equal(found.exitCode, undefined, 'pods get addresses all the same')
  t.match(found.text(PLAIN), `\n  ADD: 3, the last before ${new Date(AT).toISOString()} (unreachable)\n`)
  t.match(found.document, { served: { fallbacks } })
})

t.test(
  'status names what ipamd has put right in nftables, and the calls that it left to the plugin, each with the last moment',
  async t => {
    const repairs = [
      { name: 'rules', times: 2, lastUnixMs: AT },
      { name: 'of a newer version', times: 1, lastUnixMs: AT },
    ]
    const declined = [{ name: 'delegated-ipam', times: 7, lastUnixMs: AT }]
    const found = await report(['status'], {
      'GET /v1/pools': { pools: [pool(5)] },
      'GET /v1/status?pool=default': { ready: true },
      'GET /v1/served': { ...IDLE, repairs, declined },
    })
    t.equal(found.exitCode, undefined, 'what is right again is no failure')
    const at = new Date(AT).toISOString()
    t.match(
      found.text(PLAIN),
      `
nftables was put right since ipamd started:
  rules: 2 times, the last at ${at} (chains or sets were missing or changed)
  of a newer version: once, the last at ${at}
`,
    )
    t.match(
      found.text(PLAIN),
      `
calls that ipamd left to the plugin since it started:
  delegated-ipam: 7 times, the last at ${at}
`,
    )
    t.match(found.document, { served: { repairs, declined } })
  },
)

t.test('blocks shows each block', async t => {
  const blocks = [{ prefix: '10.244.0.0/24', pool: 'default', takenAtUnixMs: AT, leased: 3, freed: 1 }]
  const granted = { ...blocks[0], prefix: '10.244.1.0/24', node: 'n2', leased: 0, freed: 0 }
  t.equal(
    await table(['blocks'], { 'GET /v1/blocks': { blocks: [...blocks, granted] } }),
    `\
BLOCK          POOL     NODE  LEASED  FREED  TAKEN AT
10.244.0.0/24  default        3       1      2026-11-23T14:03:00Z
10.244.1.0/24  default  n2                   2026-11-23T14:03:00Z
`,
  )
})

t.test('end-grants says what a node that is gone had', async t => {
  const answers = fakeAsk({ 'POST /v1/grants/end': { ended: ['10.244.1.0/24'] } })
  t.equal((await report(['end-grants', 'n2'], answers)).text(PLAIN), 'took back 10.244.1.0/24\n')
  t.same(answers.asked, ['POST /v1/grants/end {"node":"n2"}'])
})

t.test('leases reads all pages, and shows them by the value of their addresses', async t => {
  const answers = {
    [FIRST_PAGE]: { leases: [lease(1, { address: '10.244.0.10' })], next: 1 },
    'GET /v1/leases?after=1': { leases: [lease(2, { address: '10.244.0.9', pod: false })] },
  }
  const found = await report(['leases'], answers)
  t.equal(
    found.text(PLAIN),
    `\
ADDRESSES                    POD         ATTACHMENT     POOL     LEASED AT
10.244.0.9, fd00:10:244::2   -           tulle/c2/eth0  default  2026-11-23T14:03:00Z
10.244.0.10, fd00:10:244::2  shop/web-0  tulle/c1/eth0  default  2026-11-23T14:03:00Z
`,
  )
  t.same(found.document, {
    leases: [lease(1, { address: '10.244.0.10' }), lease(2, { address: '10.244.0.9', pod: false })],
  })
})

t.test('leases hands its options to ipamd, the address in its usual form', async t => {
  const ask = fakeAsk({})
  const args = ['leases', '--pod', 'shop/web-0', '--address', 'FD00::0:2', '--pool', 'p', '--network', 'n']
  await t.rejects(report(args, ask), { name: 'IpamProblem' })
  const query = 'podNamespace=shop&podName=web-0&address=fd00%3A%3A2&pool=p&network=n&after=0'
  t.same(ask.asked, [`GET /v1/leases?${query}`])
})

t.test('leases does not ask for ever when a page does not lead on', async t => {
  await t.rejects(table(['leases'], { [FIRST_PAGE]: { leases: [lease(1)], next: 0 } }), {
    name: 'IpamUnavailable',
    message: /reply.next: 0: want more than 0/,
  })
})

const TENURE = {
  address: '10.244.0.2',
  block: '10.244.0.0/24',
  pool: 'default',
  attachment: { network: 'tulle', containerId: 'c1', ifName: 'eth0' },
}

t.test('history shows who held the address, and until when', async t => {
  const tenures = [
    { ...TENURE, pod: { namespace: 'shop', name: 'web-0' }, leasedAtUnixMs: AT },
    { ...TENURE, releasedAtUnixMs: AT - 60_000, reason: 'reconcile', detail: 'its boot is over' },
  ]
  t.equal(
    await table(['history', '10.244.0.2'], { 'GET /v1/history?address=10.244.0.2': { tenures, hasMore: true } }),
    `\
FROM                  UNTIL                 POD         ATTACHMENT     POOL     ENDED BY
2026-11-23T14:03:00Z  now                   shop/web-0  tulle/c1/eth0  default
earlier               2026-11-23T14:02:00Z  -           tulle/c1/eth0  default  reconcile: its boot is over
older ones are left out: --at TIME asks for one moment
`,
  )
})

t.test('history --at asks for one moment, and says when nobody held the address', async t => {
  const answers = { [`GET /v1/history?address=10.244.0.2&at=${AT}`]: { tenures: [], hasMore: false } }
  t.equal(
    await table(['history', '10.244.0.2', '--at', '14:03'], answers),
    'nobody held 10.244.0.2 at 2026-11-23T14:03:00Z, as far back as the history goes\n',
  )
})

const FOUND = { 'GET /v1/leases?address=10.244.0.2&after=0': { leases: [lease(1)] } }

t.test('release without --force shows the lease, frees nothing and fails', async t => {
  const ask = fakeAsk(FOUND)
  const found = await report(['release', '10.244.0.2'], ask)
  t.equal(found.exitCode, 1)
  t.equal(
    found.text(PLAIN),
    `\
10.244.0.2, fd00:10:244::2: lease of pod shop/web-0, attachment tulle/c1/eth0
nothing was released: --force releases it
`,
  )
  t.same(
    ask.asked.filter(each => each.startsWith('POST')),
    [],
  )
})

t.test('release --force frees exactly the lease that it found (R7)', async t => {
  const ask = fakeAsk({ ...FOUND, 'POST /v1/leases/release': { released: true } })
  const found = await report(['release', '--force', '10.244.0.2'], ask)
  t.equal(found.exitCode, undefined)
  t.equal(found.text(PLAIN), 'released 10.244.0.2, fd00:10:244::2: lease of pod shop/web-0, attachment tulle/c1/eth0\n')
  const body = {
    attachment: { network: 'tulle', containerId: 'c1', ifName: 'eth0' },
    addresses: ['10.244.0.2', 'fd00:10:244::2'],
    isForced: true,
  }
  t.equal(ask.asked[1], `POST /v1/leases/release ${JSON.stringify(body)}`)
})

t.test('release takes an attachment, and fails when there is no lease of it', async t => {
  const answers = { 'GET /v1/leases?network=tulle&containerId=c9&ifName=eth0&after=0': { leases: [] } }
  const found = await report(['release', 'tulle/c9/eth0', '--force'], answers)
  t.equal(found.exitCode, 1)
  t.equal(found.text(PLAIN), 'no lease of tulle/c9/eth0: nothing was released\n')
})

t.test('release fails when the lease changed after it was found', async t => {
  const found = await report(['release', '10.244.0.2', '--force'], {
    ...FOUND,
    'POST /v1/leases/release': { released: false },
  })
  t.equal(found.exitCode, 1)
  t.match(found.text(PLAIN), /nothing was released: the lease changed just now\n$/)
})

t.test('reserve sets an address aside, with a note', async t => {
  const reservation = { address: '10.244.0.9', pool: 'default', owner: 'shop/web-0', note: 'the old name server' }
  const ask = fakeAsk({ 'POST /v1/reservations': reservation })
  const found = await report(['reserve', '10.244.0.9', 'shop/web-0', '--note', 'the old name server'], ask)
  t.equal(found.text(PLAIN), 'reserved 10.244.0.9 of pool default for shop/web-0\n')
  const body = { address: '10.244.0.9', owner: 'shop/web-0', note: 'the old name server' }
  t.same(ask.asked, [`POST /v1/reservations ${JSON.stringify(body)}`])
})

t.test('reservations lists them by the value of their addresses', async t => {
  const reservations = [
    { address: '10.244.0.10', pool: 'default', owner: 'shop/web-0', note: 'a note' },
    { address: 'fd00::2', pool: 'default', owner: 'shop/web-0' },
    { address: '10.244.0.9', pool: 'default', owner: 'shop/web-1' },
  ]
  t.equal(
    await table(['reservations'], { 'GET /v1/reservations': { reservations } }),
    `\
ADDRESS      OWNER       POOL     NOTE
10.244.0.9   shop/web-1  default
10.244.0.10  shop/web-0  default  a note
fd00::2      shop/web-0  default
`,
  )
})

t.test('unreserve fails when there was no reservation', async t => {
  const args = ['unreserve', '10.244.0.9']
  const ended = await report(args, { 'POST /v1/reservations/end': { ended: true } })
  t.equal(ended.exitCode, undefined)
  t.equal(ended.text(PLAIN), '10.244.0.9 is not reserved any more\n')
  const none = await report(args, { 'POST /v1/reservations/end': { ended: false } })
  t.equal(none.exitCode, 1)
  t.equal(none.text(PLAIN), '10.244.0.9 was not reserved\n')
})

t.test('check lists what differs, and its exit code says so', async t => {
  const findings = [
    { kind: 'lease-without-link', detail: 'tulle/c1/eth0 holds 10.244.0.2 and has no interface' },
    { kind: 'of-a-newer-daemon', detail: 'something else' },
  ]
  const found = await report(['check'], { 'GET /v1/check': { findings } })
  t.equal(found.exitCode, 4)
  t.equal(
    found.text(PLAIN),
    `\
FINDING             DETAIL
lease-without-link  tulle/c1/eth0 holds 10.244.0.2 and has no interface
of-a-newer-daemon   something else
`,
  )
  const agreed = await report(['check'], { 'GET /v1/check': { findings: [] } })
  t.equal(agreed.exitCode, undefined)
  t.equal(agreed.text(PLAIN), 'the store and the kernel agree\n')
})

t.test('reconcile --dry-run asks for no change, and shows what would be done', async t => {
  const attachment = { network: 'tulle', containerId: 'c1', ifName: 'eth0' }
  const ask = fakeAsk({
    'POST /v1/reconcile?dryRun=true': {
      dryRun: true,
      freed: [{ attachment, reason: 'older-boot', sinceMs: 150_000 }],
      watched: [{ attachment: { ...attachment, containerId: 'c2' }, reason: 'no-interface', sinceMs: 0 }],
      removedLinks: ['tulabc'],
      repairedBlocks: ['10.244.0.0/24'],
    },
  })
  const found = await report(['reconcile', '--dry-run'], ask)
  t.same(ask.asked, ['POST /v1/reconcile?dryRun=true {}'])
  t.equal(
    found.text(PLAIN),
    `\
ACTION             SUBJECT        REASON
would free         tulle/c1/eth0  older-boot, for 150 s
would remove link  tulabc         unfinished
would add route    10.244.0.0/24  missing
watch              tulle/c2/eth0  no-interface, for 0 s
`,
  )
})

t.test('reconcile says when there is nothing to do', async t => {
  const reply = { dryRun: false, freed: [], watched: [], removedLinks: [], repairedBlocks: [] }
  t.equal(await table(['reconcile'], { 'POST /v1/reconcile': reply }), 'nothing to do\n')
})

t.test('watch shows each event on a line', async t => {
  const attachment = { network: 'tulle', containerId: 'c1', ifName: 'eth0' }
  const common = { atUnixMs: AT, pool: 'default', block: '10.244.0.0/24' }
  const events = [
    { ...common, id: 7, kind: 'block-taken' },
    { ...common, id: 8, kind: 'leased', address: '10.244.0.2', attachment, pod: { namespace: 'shop', name: 'web-0' } },
    { ...common, id: 9, kind: 'released', reason: 'del', address: '10.244.0.2', attachment },
  ]
  const lost = { after: 6, next: 7 }
  const streamed = [{ name: 'lost', document: lost }, ...events.map(document => ({ name: document.kind, document }))]
  const found = await outcome(['watch', '--since', '6'], fakeAsk({ 'GET /v1/events?since=6': streamed }))
  if (!('parts' in found)) throw new Error('want a stream')
  const parts: Shown[] = []
  for await (const part of found.parts) parts.push(part)
  t.equal(
    parts.map(part => part.text(PLAIN)).join(''),
    `\
some events are missing here: they have left the history
7  2026-11-23T14:03:00Z  block-taken     10.244.0.0/24  default
8  2026-11-23T14:03:00Z  leased          10.244.0.2  shop/web-0  tulle/c1/eth0  default
9  2026-11-23T14:03:00Z  released        10.244.0.2  tulle/c1/eth0  default  (del)
`,
  )
  t.same(
    parts.map(part => part.document),
    [lost, ...events],
  )
})

t.test('an answer that cannot be read is no answer of ipamd', async t => {
  for (const args of [['pools'], ['blocks'], ['leases'], ['history', '10.0.0.1']]) {
    const ask = { ...fakeAsk({}), get: async () => ({ unexpected: true }) }
    await t.rejects(outcome(args, ask), { name: 'IpamUnavailable', message: /reply\..*: missing: want/ })
  }
})
