import './harness/isolated.ts'
import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs'
import { mkdir, mkdtempDisposable } from 'node:fs/promises'
import { resolve } from 'node:path'
import t from 'tap'
import { loadAddon } from '../../native/addon.ts'
import { buildAddon } from '../../native/build.ts'
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, encodeMessages } from '../../lib/kernel/netlink-message.ts'
import { NetlinkSocket } from '../../lib/kernel/netlink-socket.ts'
import type { NetlinkRequest } from '../../lib/kernel/netlink-socket.ts'
import { Deadline } from '../../lib/time/deadline.ts'
import { Netns } from './harness/namespace.ts'
import { until } from './harness/until.ts'

const FILE = resolve(import.meta.dirname, '../../dist/bin/lib/tulle.node')
await buildAddon(FILE)
const addon = loadAddon(FILE)

const NETLINK_ROUTE = 0
const NETLINK_NETFILTER = 12
const RTM_NEWLINK = 16
const RTM_GETLINK = 18
const RTM_NEWADDR = 20
const AF_INET = 2
const OWN = -1
/** Of node's thread pool, unless UV_THREADPOOL_SIZE says otherwise. */
const POOL_THREADS = 4

const soon = () => Deadline.in(10_000)
/** struct ifinfomsg of the interface with index 1, lo. */
const LO = Buffer.from('00000000010000000000000000000000', 'hex')
const GET_LO: NetlinkRequest = { type: RTM_GETLINK, flags: 0, payload: LO }
const ALL_LINKS: NetlinkRequest = { type: RTM_GETLINK, flags: 0, payload: Buffer.alloc(16) }
/** Changes nothing, and without NLM_F_ACK nobody answers it. */
const SILENT = { type: RTM_NEWLINK, flags: NLM_F_REQUEST, payload: LO }

function openSocket(options: { netnsFd?: number; protocol?: number; exchange?: 'sync' | 'async' } = {}): NetlinkSocket {
  return new NetlinkSocket(addon, { netnsFd: OWN, protocol: NETLINK_ROUTE, exchange: 'async', ...options })
}

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length
}

/** The network namespace of every thread of this process, in the order of their ids. */
function namespacesOfThreads(): readonly string[] {
  return readdirSync('/proc/self/task')
    .map(namespaceOfThread)
    .filter(name => name !== undefined)
}

/** Undefined for a thread that ended after its id was read. */
function namespaceOfThread(id: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/task/${id}/ns/net`)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

/** A thread that was joined runs no more code, but stays visible until the kernel has taken it apart. */
async function untilThreadsAre(namespaces: readonly string[]): Promise<void> {
  await until('no thread is left over', () => namespacesOfThreads().join() === namespaces.join())
}

t.test(
  '10,000 opens of a namespace and a netlink socket leave no descriptor and no thread (issue 2, item 2)',
  async t => {
    await using pod = await Netns.create('pod')
    const before = { descriptors: openDescriptors(), threads: namespacesOfThreads() }
    for (let i = 0; i < 10_000; i++) {
      const netns = addon.openNetns(pod.path)
      const socket = addon.openNetlink(netns.fd, i % 2 === 0 ? NETLINK_ROUTE : NETLINK_NETFILTER)
      closeSync(socket)
      closeSync(netns.fd)
    }
    t.strictSame({ descriptors: openDescriptors(), threads: namespacesOfThreads() }, before)
  },
)

t.test('failed opens leave no descriptor', async t => {
  await using pod = await Netns.create('pod')
  const netns = addon.openNetns(pod.path)
  const notNetns = openSync('/proc/self/ns/uts', 'r')
  const before = openDescriptors()
  for (let i = 0; i < 100; i++) {
    t.throws(() => addon.openNetns('/proc/self/ns/uts'), { code: 'ENOTNETNS' })
    t.throws(() => addon.openNetlink(notNetns, NETLINK_ROUTE), { code: 'EINVAL', syscall: 'setns' })
    t.throws(() => addon.openNetlink(netns.fd, 31), { code: 'EPROTONOSUPPORT', syscall: 'socket' })
  }
  t.equal(openDescriptors(), before)
  closeSync(notNetns)
  closeSync(netns.fd)
  t.throws(() => addon.openNetlink(netns.fd, NETLINK_ROUTE), { code: 'EBADF', syscall: 'setns' })
})

t.test('no thread of Node is in another namespace after work in one', async t => {
  await using pod = await Netns.create('pod')
  const netns = addon.openNetns(pod.path)
  const own = readlinkSync('/proc/self/ns/net')
  const threads = namespacesOfThreads()
  t.strictSame([...new Set(threads)], [own])
  t.not(`net:[${netns.inode}]`, own)
  using socket = openSocket({ netnsFd: netns.fd })
  addon.readSysctl(netns.fd, 'net/ipv4/ip_forward')
  addon.writeSysctls(netns.fd, [['net/ipv4/ip_forward', '1']])
  await untilThreadsAre(threads)
  t.ok(await socket.dump(ALL_LINKS, soon()), 'the socket stays where it was opened')
  closeSync(netns.fd)
})

t.test('a socket works in its namespace, also after the handle is closed and the name deleted', async t => {
  await using pod = await Netns.create('pod')
  await pod.run(['ip', 'link', 'add', 'only-here', 'type', 'veth', 'peer', 'its-peer'])
  const netns = addon.openNetns(pod.path)
  using socket = openSocket({ netnsFd: netns.fd })
  closeSync(netns.fd)
  await pod.delete()
  const links = await socket.dump(ALL_LINKS, soon())
  t.equal(links.length, 3)
  t.ok(links.some(({ payload }) => payload.includes('only-here\0')))
})

t.test('sysctls are those of the namespace, and ours stay as they are', async t => {
  await using pod = await Netns.create('pod')
  const netns = addon.openNetns(pod.path)
  const key = 'net/ipv4/conf/all/rp_filter'
  addon.writeSysctls(OWN, [[key, '0']])
  addon.writeSysctls(netns.fd, [
    [key, '2'],
    ['net/ipv6/conf/lo/accept_dad', '-1'],
  ])
  t.equal(addon.readSysctl(netns.fd, key), '2')
  t.equal(addon.readSysctl(netns.fd, 'net/ipv6/conf/lo/accept_dad'), '-1')
  t.equal(addon.readSysctl(OWN, key), '0')
  t.equal((await pod.run(['cat', `/proc/sys/${key}`])).trim(), '2')
  closeSync(netns.fd)
})

t.test('writeSysctls() stops at the first failure and says which it was', async t => {
  await using pod = await Netns.create('pod')
  const netns = addon.openNetns(pod.path)
  const settings = [
    ['net/ipv4/conf/all/rp_filter', '1'],
    ['net/ipv4/conf/nonesuch/rp_filter', '1'],
    ['net/ipv4/conf/default/rp_filter', '1'],
  ] as const
  t.throws(() => addon.writeSysctls(netns.fd, settings), {
    code: 'ENOENT',
    index: 1,
    syscall: 'openat',
    message: 'openat /proc/sys/net/ipv4/conf/nonesuch/rp_filter: ENOENT',
  })
  t.equal(addon.readSysctl(netns.fd, 'net/ipv4/conf/all/rp_filter'), '1')
  t.equal(addon.readSysctl(netns.fd, 'net/ipv4/conf/default/rp_filter'), '0')
  t.throws(() => addon.writeSysctls(netns.fd, [['net/ipv4/ip_forward', 'maybe']]), {
    code: 'EINVAL',
    index: 0,
    syscall: 'pwrite64',
  })
  closeSync(netns.fd)
})

t.test('where /proc/sys is read-only, as in a container, sysctls are written below another folder', async t => {
  await using pod = await Netns.create('pod')
  const netns = addon.openNetns(pod.path)
  const key = 'net/ipv4/conf/all/rp_filter'
  await using undo = new AsyncDisposableStack()
  const { path: elsewhere } = undo.use(await mkdtempDisposable('/run/tulle-sysctls-'))
  const bind = async (from: string, to: string): Promise<void> => {
    await Netns.own().run(['mount', '--bind', from, to])
    undo.defer(async () => void (await Netns.own().run(['umount', to])))
  }
  await mkdir(`${elsewhere}/net`)
  await bind('/proc/sys/net', `${elsewhere}/net`)
  await bind('/proc/sys', '/proc/sys')
  await Netns.own().run(['mount', '-o', 'remount,bind,ro', '/proc/sys'])
  undo.defer(() => addon.useSysctlFolder('/proc/sys'))
  t.throws(() => addon.writeSysctls(OWN, [[key, '1']]), { code: 'EROFS' })
  addon.useSysctlFolder(elsewhere)
  addon.writeSysctls(OWN, [[key, '1']])
  addon.writeSysctls(netns.fd, [[key, '2']])
  await addon.perform([{ netnsFd: netns.fd, settings: [['net/ipv4/ip_forward', '1']] }], 1_000)
  t.strictSame([addon.readSysctl(OWN, key), addon.readSysctl(netns.fd, key)], ['1', '2'], 'each namespace its own')
  t.equal((await pod.run(['cat', '/proc/sys/net/ipv4/ip_forward'])).trim(), '1')
  t.throws(() => addon.writeSysctls(netns.fd, [['net/ipv4/no_such_setting', '1']]), {
    message: `openat ${elsewhere}/net/ipv4/no_such_setting: ENOENT`,
  })
  for (const path of ['proc/sys', '', 'x'.repeat(256)]) {
    t.throws(() => addon.useSysctlFolder(path), { name: 'TypeError' }, path)
  }
  closeSync(netns.fd)
})

for (const exchange of ['sync', 'async'] as const) {
  t.test(`a refusal has its errno and the kernel's own words (${exchange})`, async t => {
    await using pod = await Netns.create('pod')
    const netns = addon.openNetns(pod.path)
    using socket = openSocket({ netnsFd: netns.fd, exchange })
    closeSync(netns.fd)
    const address: NetlinkRequest = {
      type: RTM_NEWADDR,
      flags: NLM_F_CREATE | NLM_F_EXCL,
      payload: [
        Uint8Array.of(AF_INET, 32, 0, 0, 1, 0, 0, 0),
        out => {
          out.push(2, Uint8Array.of(192, 0, 2, 1))
        },
      ],
    }
    await socket.acknowledge(address, soon())
    await t.rejects(socket.acknowledge(address, soon()), {
      name: 'NetlinkError',
      code: 'EEXIST',
      extAck: /already assigned/i,
      message: /^netlink message type 20: EEXIST: .*already assigned/i,
      outcomeUnknown: false,
    })
  })

  t.test(`get() finds one link, and an absent one is ENODEV (${exchange})`, async t => {
    using socket = openSocket({ exchange })
    const lo = await socket.get(GET_LO, soon())
    t.equal(lo?.type, RTM_NEWLINK)
    t.ok(lo?.payload.includes('lo\0'))
    const absent = Buffer.from(LO)
    absent.writeInt32LE(12345, 4)
    await t.rejects(socket.get({ ...GET_LO, payload: absent }, soon()), { code: 'ENODEV' })
  })
}

t.test('a dump larger than any datagram comes whole', async t => {
  await using pod = await Netns.create('pod')
  const netns = addon.openNetns(pod.path)
  using socket = openSocket({ netnsFd: netns.fd, exchange: 'sync' })
  closeSync(netns.fd)
  const pairs = Array.from({ length: 100 }, (_, i) => `link add a${i} type veth peer b${i}\n`).join('')
  await pod.run(['sh', '-c', 'printf %s "$1" | ip -batch -', 'sh', pairs])
  const links = await socket.dump(ALL_LINKS, soon())
  t.equal(links.length, 201)
  t.ok(Buffer.concat(links.map(link => link.payload)).length > 100_000)
})

t.test(
  'an unanswered request ends at its deadline as an error, and the socket goes on working (invariant 6)',
  async t => {
    const socket = addon.openNetlink(OWN, NETLINK_ROUTE)
    const silent = encodeMessages([{ ...SILENT, seq: 1 }])
    const began = performance.now()
    t.throws(() => addon.transactSync(socket, silent, 1, 30), { code: 'ETIMEDOUT', sent: true })
    t.ok(performance.now() - began >= 30)
    await t.rejects(addon.transact(socket, silent, 1, 30), { code: 'ETIMEDOUT', sent: true })
    const acknowledged = encodeMessages([{ ...SILENT, flags: NLM_F_REQUEST | NLM_F_ACK, seq: 2 }])
    t.equal(addon.transactSync(socket, acknowledged, 2, 10_000).readUInt32LE(8), 2)
    closeSync(socket)
  },
)

t.test('transact() leaves the event loop free while it waits', async t => {
  const socket = addon.openNetlink(OWN, NETLINK_ROUTE)
  let turns = 0
  const waiting = { is: true }
  const answer = addon
    .transact(socket, encodeMessages([{ ...SILENT, seq: 1 }]), 1, 50)
    .finally(() => (waiting.is = false))
  const counting = (async () => {
    for (; waiting.is; turns++) await new Promise(setImmediate)
  })()
  await t.rejects(answer, { code: 'ETIMEDOUT' })
  await counting
  t.ok(turns > 10, `${turns} turns`)
  closeSync(socket)
})

t.test('transact() sends nothing when its time ran out in the queue of the thread pool (invariant 6)', async t => {
  const sockets = Array.from({ length: POOL_THREADS + 1 }, () => addon.openNetlink(OWN, NETLINK_ROUTE))
  const silent = encodeMessages([{ ...SILENT, seq: 1 }])
  const ends = sockets.map((socket, i) => addon.transact(socket, silent, 1, i < POOL_THREADS ? 300 : 100))
  const outcomes = await Promise.allSettled(ends)
  t.match(outcomes.at(0), { reason: { code: 'ETIMEDOUT', sent: true } })
  t.match(outcomes.at(-1), { reason: { code: 'ETIMEDOUT', sent: false } })
  for (const socket of sockets) closeSync(socket)
})

t.test('transactSync() with no time left sends nothing', async t => {
  const socket = addon.openNetlink(OWN, NETLINK_ROUTE)
  t.throws(() => addon.transactSync(socket, encodeMessages([{ ...SILENT, seq: 1 }]), 1, 0), {
    code: 'ETIMEDOUT',
    syscall: 'sendto',
    sent: false,
  })
  closeSync(socket)
})

t.test('answers that overflow the receive buffer are ENOBUFS, and the socket goes on working', async t => {
  using socket = openSocket()
  // Each answer costs kilobytes of the 4 MiB buffer, and the kernel makes them all before we can read one.
  const many = Array.from({ length: 4000 }, () => GET_LO)
  await t.rejects(socket.transaction(many, soon()), { name: 'NetlinkError', code: 'ENOBUFS', outcomeUnknown: true })
  // What is left of those answers is stale for this one.
  t.equal((await socket.dump(ALL_LINKS, soon())).length, 1)
})

t.test('sequence numbers may wrap round within an exchange', async t => {
  const socket = addon.openNetlink(OWN, NETLINK_ROUTE)
  const flags = NLM_F_REQUEST | NLM_F_ACK
  const request = encodeMessages([0xffff_ffff, 0, 1].map(seq => ({ ...SILENT, flags, seq })))
  const answer = addon.transactSync(socket, request, 1, 10_000)
  t.equal(answer.length, 3 * 36)
  t.strictSame(
    [0, 36, 72].map(at => answer.readUInt32LE(at + 8)),
    [0xffff_ffff, 0, 1],
  )
  closeSync(socket)
})

t.test('100 requests at once on one socket, and on 100 sockets, all get their own answers', async t => {
  using shared = openSocket()
  const onOne = await Promise.all(Array.from({ length: 100 }, () => shared.get(GET_LO, soon())))
  t.ok(onOne.every(reply => reply?.payload.includes('lo\0')))
  const sockets = Array.from({ length: 100 }, () => openSocket())
  const onMany = await Promise.all(sockets.map(socket => socket.dump(ALL_LINKS, soon())))
  t.ok(onMany.every(links => links.length === 1))
  for (const socket of sockets) socket.close()
})

const NFNL_MSG_BATCH_BEGIN = 0x10
const NFNL_MSG_BATCH_END = 0x11
const NFNL_SUBSYS_IPSET = 6
const NFNL_SUBSYS_NFTABLES = 10
const NFT_MSG_NEWTABLE = 0
const NFT_MSG_GETTABLE = 1

/** The batch that makes `requests` of a subsystem one transaction. */
function batch(requests: readonly NetlinkRequest[], subsystem = NFNL_SUBSYS_NFTABLES): readonly NetlinkRequest[] {
  const border = { flags: 0, payload: Uint8Array.of(0, 0, 0, subsystem), unacknowledged: true }
  return [{ ...border, type: NFNL_MSG_BATCH_BEGIN }, ...requests, { ...border, type: NFNL_MSG_BATCH_END }]
}

function newTable(name: string): NetlinkRequest {
  return {
    type: (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_NEWTABLE,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    payload: [
      Uint8Array.of(AF_INET, 0, 0, 0),
      out => {
        out.push(1, Buffer.from(`${name}\0`))
      },
    ],
  }
}

t.test('transaction() commits an nf_tables batch whole or not at all', async t => {
  await using pod = await Netns.create('pod')
  const netns = addon.openNetns(pod.path)
  using socket = openSocket({ netnsFd: netns.fd, protocol: NETLINK_NETFILTER })
  closeSync(netns.fd)
  const tables = {
    type: (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETTABLE,
    flags: 0,
    payload: Uint8Array.of(AF_INET, 0, 0, 0),
  }
  await socket.transaction(batch([newTable('one')]), soon())
  t.equal((await socket.dump(tables, soon())).length, 1)
  await t.rejects(socket.transaction(batch([newTable('two'), newTable('one')]), soon()), {
    code: 'EEXIST',
    requestIndex: 2,
    outcomeUnknown: false,
  })
  t.equal((await socket.dump(tables, soon())).length, 1, 'two is not there')
})

t.test('transaction() ends at once when the kernel refuses a whole batch', async t => {
  await using pod = await Netns.create('pod')
  const netns = addon.openNetns(pod.path)
  using socket = openSocket({ netnsFd: netns.fd, protocol: NETLINK_NETFILTER })
  closeSync(netns.fd)
  // No subsystem but nf_tables takes batches.
  await t.rejects(socket.transaction(batch([newTable('one')], NFNL_SUBSYS_IPSET), soon()), {
    code: 'EOPNOTSUPP',
    requestIndex: 0,
    outcomeUnknown: false,
  })
})

t.test('watchDeletedLinks() hears of each link that goes, until it is told to stop', async t => {
  const gone: number[] = []
  const stop = addon.watchDeletedLinks(index => void gone.push(index))
  const node = Netns.own()
  const indexOf = async (name: string) => Number.parseInt(await node.run(['ip', '-o', 'link', 'show', name]), 10)
  await node.run(['ip', 'link', 'add', 'heard0', 'type', 'veth', 'peer', 'name', 'heard1'])
  const ends = [await indexOf('heard0'), await indexOf('heard1')]
  await node.run(['ip', 'link', 'set', 'heard0', 'up'])
  t.same(gone, [], 'a change is none')
  await node.run(['ip', 'link', 'delete', 'heard0'])
  await until('both ends were heard of', () => gone.length >= 2)
  t.same(
    gone.toSorted((a, b) => a - b),
    ends.toSorted((a, b) => a - b),
  )
  stop()
  stop()
  await node.run(['ip', 'link', 'add', 'heard0', 'type', 'veth', 'peer', 'name', 'heard1'])
  await node.run(['ip', 'link', 'delete', 'heard0'])
  await new Promise(resolve => setImmediate(resolve))
  t.equal(gone.length, 2)
  const noFunction: unknown = 7
  t.throws(() => addon.watchDeletedLinks(noFunction as () => void), TypeError)
})

t.test('watchDeletedLinks() hears nothing when a port leaves a bridge', async t => {
  const gone: number[] = []
  const stop = addon.watchDeletedLinks(index => void gone.push(index))
  t.teardown(stop)
  const node = Netns.own()
  await node.run(['ip', 'link', 'add', 'heardbr', 'type', 'bridge'])
  await node.run(['ip', 'link', 'add', 'heard0', 'master', 'heardbr', 'type', 'veth', 'peer', 'name', 'heard1'])
  await node.run(['ip', 'link', 'set', 'heard0', 'nomaster'])
  await node.run(['ip', 'link', 'delete', 'heard0'])
  await until('both ends were heard of', () => gone.length >= 2)
  await node.run(['ip', 'link', 'delete', 'heardbr'])
  await until('the bridge was heard of', () => gone.length >= 3)
  t.equal(gone.length, 3)
})
