import fc from 'fast-check'
import t from 'tap'
import { parseAddress } from '../net/address.ts'
import { ParseError } from '../net/parse-error.ts'
import { parsePrefix } from '../net/prefix.ts'
import { IpamProblem, parseProblem } from './errors.ts'
import type { Lease } from './lease.ts'
import {
  allocateReplyToWire,
  allocateRequestToWire,
  collectReplyToWire,
  collectRequestToWire,
  leaseFilterToQuery,
  leasesReplyToWire,
  parseAllocateReply,
  parseAllocateRequest,
  parseCollectReply,
  parseCollectRequest,
  parseLeaseFilter,
  parseLeasesReply,
  parsePoolsReply,
  parseReleaseReply,
  parseReleaseRequest,
  parseStatusQuery,
  poolsReplyToWire,
  releaseReplyToWire,
  releaseRequestToWire,
  statusPath,
} from './protocol.ts'
import { decodeSpoolEntry, encodeSpoolEntry } from './spool-entry.ts'

const ATTACHMENT = { network: 'net', containerId: 'abc', ifName: 'eth0' }
const LEASE: Lease = {
  attachment: ATTACHMENT,
  pool: 'p',
  addresses: [
    { address: parseAddress('10.244.1.7'), block: parsePrefix('10.244.1.0/24'), gateway: parseAddress('10.244.1.1') },
    { address: parseAddress('fd00::7'), block: parsePrefix('fd00::7/128') },
  ],
  leasedAtUnixMs: 5,
}

function overTheWire(document: object): unknown {
  return JSON.parse(JSON.stringify(document))
}

t.test('parseAllocateRequest() takes wishes, and refuses those that make no sense (R33)', async t => {
  const wish = {
    attachment: ATTACHMENT,
    addresses: [parseAddress('10.244.1.7'), parseAddress('fd00::7')],
    within: [
      { first: parseAddress('10.244.1.0'), last: parseAddress('10.244.1.9') },
      { first: parseAddress('fd00::'), last: parseAddress('fd00::ff') },
    ],
    owner: 'ns/db-0',
    stickySeconds: 60,
  }
  t.match(parseAllocateRequest(overTheWire(allocateRequestToWire(wish))), wish)
  const request = (change: object) => () => parseAllocateRequest({ attachment: ATTACHMENT, ...change })
  t.throws(request({ addresses: ['10.0.0.1', '10.0.0.2'] }), {
    message: 'request.addresses: ["10.0.0.1","10.0.0.2"]: want at most one address of each family',
  })
  t.throws(request({ within: [{ first: '10.0.0.2', last: '10.0.0.1' }] }), {
    message: 'request.within[0]: 10.0.0.2-10.0.0.1: want two addresses of one family, the lower one first',
  })
  t.throws(request({ within: [{ first: '10.0.0.2', last: 'fd00::1' }] }), {
    message: /^request\.within\[0\]: .*want two/,
  })
  t.throws(request({ within: [{ first: '10.0.0.2' }] }), { message: 'request.within[0].last: missing: want a string' })
  t.throws(request({ within: Array.from({ length: 65 }, () => ({ first: '10.0.0.2', last: '10.0.0.2' })) }), {
    message: 'request.within: 65 ranges: want at most 64',
  })
  t.equal(parseAllocateRequest({ attachment: ATTACHMENT, within: [] }).within, undefined)
  t.throws(request({ addresses: ['10.0.0'] }), { message: /^request\.addresses\[0\]: / })
  t.throws(request({ owner: '' }), { message: 'request.owner: "": want 1 to 507 characters' })
  t.throws(request({ stickySeconds: 5 }), { message: 'request.stickySeconds: 5: want an owner beside it' })
  t.throws(request({ owner: 'a', stickySeconds: 2_592_001 }), {
    message: 'request.stickySeconds: 2592001: want at most 2592000',
  })
})

t.test('requests arrive as they were sent', async t => {
  const allocate = {
    attachment: ATTACHMENT,
    pool: 'p',
    deadlineUnixMs: 9,
    pod: { namespace: 'ns', name: 'n', uid: 'u' },
  }
  t.same(parseAllocateRequest(overTheWire(allocateRequestToWire(allocate))), allocate)
  const bare = { attachment: ATTACHMENT, pool: undefined, deadlineUnixMs: undefined, pod: undefined }
  t.same(parseAllocateRequest(overTheWire(allocateRequestToWire(bare))), bare)
  const release = { attachment: ATTACHMENT, addresses: [parseAddress('fd00::7')], deadlineUnixMs: 9 }
  t.same(parseReleaseRequest(overTheWire(releaseRequestToWire(release))), release)
  const collect = { network: 'net', valid: [{ containerId: 'abc', ifName: 'eth0' }], deadlineUnixMs: 9 }
  t.same(parseCollectRequest(overTheWire(collectRequestToWire(collect))), collect)
  t.same(parseLeaseFilter(new URLSearchParams(leaseFilterToQuery(ATTACHMENT))), ATTACHMENT)
  t.equal(leaseFilterToQuery({}), '')
  t.equal(parseStatusQuery(new URL(statusPath('a&b'), 'http://x').searchParams), 'a&b')
})

t.test('replies arrive as they were sent', async t => {
  t.same(parseAllocateReply(overTheWire(allocateReplyToWire({ lease: LEASE, isNew: true }))), {
    lease: LEASE,
    isNew: true,
  })
  t.same(parseReleaseReply(overTheWire(releaseReplyToWire({ released: true }))), { released: true })
  t.same(parseCollectReply(overTheWire(collectReplyToWire({ released: [ATTACHMENT] }))), { released: [ATTACHMENT] })
  t.same(parseLeasesReply(overTheWire(leasesReplyToWire({ leases: [LEASE] }))), { leases: [LEASE] })
  const pool = {
    name: 'p',
    prefixes: [parsePrefix('fd00::/56')],
    blocks: [{ prefix: parsePrefix('fd00::/64') }],
    leased: 1,
    cooling: 2,
  }
  const pools = [{ ...pool, capacity: 2n ** 72n }]
  t.same(parsePoolsReply(overTheWire(poolsReplyToWire({ pools }))), { pools })
  const problem = new IpamProblem('pool-exhausted', 'no address', { members: { pool: 'p', family: 4 } })
  t.same(parseProblem(overTheWire(problem.toWire())), problem)
})

t.test('requests are read strictly, replies leniently', async t => {
  t.throws(() => parseReleaseRequest({ attachment: ATTACHMENT, x: 1 }), { message: /request\.x: unknown member/ })
  t.throws(() => parseReleaseRequest({ attachment: { ...ATTACHMENT, x: 1 } }), {
    message: /request\.attachment\.x: unknown member/,
  })
  t.same(parseReleaseReply({ released: true, x: 1 }), { released: true })
  t.throws(
    () => parseCollectRequest({ network: 'net', valid: null }),
    { message: /request\.valid: null: want an array/ },
    'G3',
  )
  t.throws(() => parseLeaseFilter(new URLSearchParams('network=a&network=b')), { message: /given twice/ })
})

t.test('a lease whose address is not in its block is refused', async t => {
  const wire = overTheWire(allocateReplyToWire({ lease: LEASE, isNew: true })) as {
    lease: { addresses: { address: string }[] }
  }
  const [first] = wire.lease.addresses
  if (first !== undefined) first.address = '10.9.9.9'
  t.throws(() => parseAllocateReply(wire), {
    name: 'ParseError',
    message: /reply\.lease\.addresses\[0\]: 10\.9\.9\.9 is not an address of its block/,
  })
})

t.test('parseProblem() keeps the refusal of a newer daemon', async t => {
  const problem = parseProblem({ type: 'urn:tulle:problem:brand-new', title: 'T', status: 409, detail: 'no' })
  t.match(problem, { type: 'internal', detail: 'no (urn:tulle:problem:brand-new)' })
  t.equal(parseProblem({ type: 'urn:tulle:problem:constructor', title: 'T' }).type, 'internal')
})

t.test('a spool entry is read as it was written, and no other format is (R35)', async t => {
  const entry = { attachment: ATTACHMENT, addresses: [parseAddress('10.244.1.7')], releasedAtUnixMs: 7 }
  t.same(decodeSpoolEntry(encodeSpoolEntry(entry)), entry)
  const text = encodeSpoolEntry({ attachment: ATTACHMENT, releasedAtUnixMs: 7 })
  t.equal(decodeSpoolEntry(text).addresses, undefined)
  t.throws(() => decodeSpoolEntry(text.replace('/1', '/2')), {
    name: 'ParseError',
    message: 'entry.format: "tulle-release/2": want "tulle-release/1"',
  })
  t.throws(() => decodeSpoolEntry(''), { name: 'ParseError', message: /not JSON/ })
  t.throws(() => decodeSpoolEntry(text.slice(0, -10)), { name: 'ParseError' }, 'a torn write')
})

t.test('whatever arrives, only ParseError is thrown', async t => {
  const parsers = [
    parseAllocateRequest,
    parseReleaseRequest,
    parseCollectRequest,
    parseAllocateReply,
    parseReleaseReply,
    parseCollectReply,
    parseLeasesReply,
    parsePoolsReply,
    parseProblem,
    (value: unknown) => decodeSpoolEntry(JSON.stringify(value) ?? ''),
  ]
  const anything = fc.oneof(
    fc.jsonValue(),
    fc.record({
      attachment: fc.jsonValue(),
      addresses: fc.jsonValue(),
      valid: fc.jsonValue(),
      network: fc.jsonValue(),
      lease: fc.jsonValue(),
    }),
  )
  fc.assert(
    fc.property(fc.constantFrom(...parsers), anything, (parse, value) => {
      try {
        parse(value)
      } catch (error) {
        if (!(error instanceof ParseError)) throw error
      }
    }),
    { numRuns: 2000 },
  )
  t.pass('2000 documents')
})

t.test('a refusal is short, however long what was sent', async t => {
  const long = 'x'.repeat(100_000)
  const attempts = [
    () => parseAllocateRequest({ attachment: ATTACHMENT, [long]: 1 }),
    () => parseAllocateRequest({ attachment: ATTACHMENT, pool: long }),
    () => parseStatusQuery(new URLSearchParams({ pool: long })),
    () => parseStatusQuery(new URLSearchParams({ [long]: '' })),
  ]
  for (const attempt of attempts) {
    try {
      attempt()
      t.fail(`${attempt.toString()} took it`)
    } catch (error) {
      if (!(error instanceof ParseError)) throw error
      t.ok(error.message.length < 300, error.message.slice(0, 300))
    }
  }
})

t.test('parseAllocateRequest() takes who asks, and refuses a plugin that it does not know (R6)', async t => {
  const request = { attachment: ATTACHMENT, via: 'tulle', hostNetnsInode: 4026531840 }
  t.match(parseAllocateRequest(request), { via: 'tulle', hostNetnsInode: 4026531840 })
  t.throws(() => parseAllocateRequest({ ...request, via: 'other' }), /request.via: "other": want tulle or tulle-ipam/)
  t.throws(() => parseAllocateRequest({ ...request, hostNetnsInode: -1 }), /request.hostNetnsInode: -1: /)
})
