import './harness/isolated.ts'
import { closeSync, readdirSync, readlinkSync } from 'node:fs'
import { resolve } from 'node:path'
import t from 'tap'
import { decodeMessages, encodeMessages, NLM_F_ACK, NLM_F_REQUEST } from '../../lib/kernel/netlink-message.ts'
import { loadAddon, type Performed, type Step } from '../../native/addon.ts'
import { buildAddon } from '../../native/build.ts'
import { Netns } from './harness/namespace.ts'
import { until } from './harness/until.ts'

// Several steps in one visit to the thread pool: perform() of the addon.

const FILE = resolve(import.meta.dirname, '../../dist/bin/lib/tulle.node')
await buildAddon(FILE)
const addon = loadAddon(FILE)

const OWN = -1
const NETLINK_ROUTE = 0
const RTM_NEWLINK = 16
const RTM_GETLINK = 18
const TIMEOUT_MS = 10_000
const RP_FILTER = 'net/ipv4/conf/all/rp_filter'

/** struct ifinfomsg: of one link, and as a change that brings it up. */
function link(index: number, isUp = false): Buffer {
  const bytes = Buffer.alloc(16)
  bytes.writeInt32LE(index, 4)
  if (isUp) bytes.fill(1, 8, 9).fill(1, 12, 13)
  return bytes
}

/** One request to the socket, or to the one that was opened before. */
function ask(type: number, payload: Buffer, socketFd = -1): Step {
  return {
    socketFd,
    request: encodeMessages([{ type, flags: NLM_F_REQUEST | NLM_F_ACK, seq: 1, payload }]),
    lastSeq: 1,
  }
}

function perform(...steps: readonly Step[]): Promise<Performed> {
  return addon.perform(steps, TIMEOUT_MS)
}

/** The types of the messages that came for a step. */
function typesIn(answer: Performed['answers'][number]): readonly number[] {
  if (!Buffer.isBuffer(answer)) throw new TypeError(`want messages, got ${typeof answer}`)
  return decodeMessages(answer).map(({ type }) => type)
}

function closeOpened({ answers }: Performed): void {
  for (const answer of answers) if (typeof answer === 'number') closeSync(answer)
}

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length
}

t.test('perform() does steps in order, each in its namespace, also when their handle is closed at once', async t => {
  await using pod = await Netns.create('pod')
  const netns = addon.openNetns(pod.path)
  const own = addon.openNetlink(OWN, NETLINK_ROUTE)
  addon.writeSysctls(OWN, [[RP_FILTER, '0']])
  const performing = perform(
    { netnsFd: netns.fd, settings: [[RP_FILTER, '2']] },
    { openIn: netns.fd },
    ask(RTM_NEWLINK, link(1, true)),
    ask(RTM_GETLINK, link(1)),
    { netnsFd: OWN, settings: [[RP_FILTER, '1']] },
    ask(RTM_GETLINK, link(1), own),
  )
  closeSync(netns.fd)
  const { answers, failure } = await performing
  t.equal(failure, undefined)
  t.same([answers.length, answers[0], typeof answers[1], answers[4]], [6, undefined, 'number', undefined])
  t.same([typesIn(answers[2]), typesIn(answers[3]), typesIn(answers[5])], [[2], [RTM_NEWLINK, 2], [RTM_NEWLINK, 2]])
  t.match(await pod.run(['ip', 'link', 'show', 'lo']), /UP/, 'the link that was changed is the one in the namespace')
  t.equal((await pod.run(['cat', `/proc/sys/${RP_FILTER}`])).trim(), '2')
  t.equal(addon.readSysctl(OWN, RP_FILTER), '1')
  closeOpened({ answers })
  closeSync(own)
})

t.test('perform() ends with the answer that refuses something', async t => {
  addon.writeSysctls(OWN, [[RP_FILTER, '0']])
  const performed = await perform({ openIn: OWN }, ask(RTM_GETLINK, link(4711)), {
    netnsFd: OWN,
    settings: [[RP_FILTER, '1']],
  })
  t.equal(performed.answers.length, 2)
  t.equal(performed.failure, undefined)
  t.same(typesIn(performed.answers[1]), [2])
  t.equal(addon.readSysctl(OWN, RP_FILTER), '0', 'what comes after it is not done')
  closeOpened(performed)
})

t.test('perform() says which setting was refused, and gives what was done before', async t => {
  const performed = await perform(
    { openIn: OWN },
    {
      netnsFd: OWN,
      settings: [
        [RP_FILTER, '1'],
        ['net/ipv4/conf/nonesuch/rp_filter', '1'],
      ],
    },
    ask(RTM_GETLINK, link(1)),
  )
  t.equal(performed.answers.length, 1)
  t.match(performed.failure, { code: 'ENOENT', index: 1, syscall: 'openat', sent: false })
  closeOpened(performed)
})

t.test('perform() tells a failed exchange from one that was never sent', async t => {
  const silent = encodeMessages([{ type: RTM_NEWLINK, flags: NLM_F_REQUEST, seq: 1, payload: link(1) }])
  const socket = addon.openNetlink(OWN, NETLINK_ROUTE)
  const unanswered = await addon.perform([{ socketFd: socket, request: silent, lastSeq: 1 }], 50)
  t.match(unanswered, { answers: [], failure: { code: 'ETIMEDOUT', sent: true } })
  closeSync(socket)
  t.match(await perform(ask(RTM_GETLINK, link(1), 4_000)), { answers: [], failure: { code: 'EBADF', sent: false } })
})

t.test('perform() begins no step when its time is over (invariant 6)', async t => {
  addon.writeSysctls(OWN, [[RP_FILTER, '0']])
  const steps: readonly Step[] = [
    { netnsFd: OWN, settings: [[RP_FILTER, '1']] },
    { openIn: OWN },
    { ...ask(RTM_GETLINK, link(1)), socketFd: 0 },
  ]
  for (const step of steps)
    t.match(await addon.perform([step], 0), { answers: [], failure: { code: 'ETIMEDOUT', sent: false } })
  t.equal(addon.readSysctl(OWN, RP_FILTER), '0')
})

t.test('perform() leaves no descriptor and no thread, whatever becomes of its steps', async t => {
  await using pod = await Netns.create('pod')
  const netns = addon.openNetns(pod.path)
  const notNetns = addon.openOwnNetns()
  const threads = () => readdirSync('/proc/self/task').length
  closeOpened(await perform({ openIn: netns.fd }))
  const before = { descriptors: openDescriptors(), threads: threads() }
  for (let i = 0; i < 200; i++) {
    closeOpened(await perform({ openIn: netns.fd }, ask(RTM_GETLINK, link(1)), { netnsFd: netns.fd, settings: [] }))
    closeOpened(await perform({ openIn: netns.fd }, ask(RTM_GETLINK, link(4711)), { openIn: netns.fd }))
    t.throws(() => addon.perform([{ openIn: netns.fd }, { netnsFd: 4_000, settings: [] }], TIMEOUT_MS), {
      code: 'EBADF',
    })
  }
  await until('no thread is left over', () => threads() === before.threads)
  t.equal(openDescriptors(), before.descriptors)
  t.equal(readlinkSync('/proc/self/ns/net'), `net:[${notNetns.inode}]`)
  closeSync(notNetns.fd)
  closeSync(netns.fd)
})
