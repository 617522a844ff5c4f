import { fstatSync, openSync } from 'node:fs'
import t from 'tap'
import type { ExchangeError, NativeAddon } from '../../native/addon.ts'
import { Deadline, DeadlineExceeded } from '../time/deadline.ts'
import {
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  decodeMessages,
  encodeMessages,
} from './netlink-message.ts'
import type { OutgoingMessage } from './netlink-message.ts'
import { NetlinkSocket } from './netlink-socket.ts'

/** A kernel that answers what a function says. It keeps what it was sent. */
class FakeKernel {
  readonly sent: (OutgoingMessage & { lastSeq: number; timeoutMs: number })[][] = []
  fd = -1
  readonly #answer: (seqs: readonly number[]) => Promise<Buffer> | Buffer

  constructor(answer: (seqs: readonly number[]) => Promise<Buffer> | Buffer) {
    this.#answer = answer
  }

  addon(): NativeAddon {
    const unused = () => {
      throw new Error('not part of this fake')
    }
    const take = (bytes: Uint8Array, lastSeq: number, timeoutMs: number) => {
      const messages = decodeMessages(Buffer.from(bytes))
      this.sent.push(
        messages.map(({ type, flags, seq, data }) => ({ type, flags, seq, payload: data, lastSeq, timeoutMs })),
      )
      return this.#answer(messages.map(({ seq }) => seq))
    }
    return {
      openNetlink: () => (this.fd = openSync('/dev/null', 'r')),
      transactSync: (_fd, request, lastSeq, timeoutMs) => {
        const answer = take(request, lastSeq, timeoutMs)
        if (answer instanceof Promise) throw new Error('this fake answers later: want transact()')
        return answer
      },
      transact: async (_fd, request, lastSeq, timeoutMs) => take(request, lastSeq, timeoutMs),
      openNetlinkListener: unused,
      receive: unused,
      perform: unused,
      openNetns: unused,
      openOwnNetns: unused,
      useSysctlFolder: unused,
      readSysctl: unused,
      writeSysctls: unused,
      tryLock: unused,
      peerCredentials: unused,
      watchDeletedLinks: () => () => {},
      waitReadable: unused,
      trimMemory: unused,
    }
  }

  socket(exchange: 'sync' | 'async' = 'sync'): NetlinkSocket {
    return new NetlinkSocket(this.addon(), { netnsFd: -1, protocol: 0, exchange })
  }
}

const GET = { type: 18, flags: 0, payload: Uint8Array.of(9, 0, 0, 0) }
const soon = () => Deadline.in(10_000)
const object = (seq: number, flags = 2) => ({ type: 16, flags, seq, payload: Uint8Array.of(1, 2, 3, 4) })
const done = (seq: number, { errno = 0, flags = 2 } = {}) => ({ type: 3, flags, seq, payload: int32(errno) })
const verdict = (seq: number, errno = 0) => ({ type: 2, flags: 0x100, seq, payload: [int32(errno), Buffer.alloc(16)] })

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return bytes
}

function exchangeError(code: string, sent: boolean): ExchangeError {
  return Object.assign(new Error(`poll netlink socket 3: ${code}`), { code, errno: -110, syscall: 'poll', sent })
}

for (const exchange of ['sync', 'async'] as const) {
  t.test(`acknowledge() asks for an ACK and takes it (${exchange})`, async t => {
    const kernel = new FakeKernel(seqs => encodeMessages(seqs.map(seq => verdict(seq))))
    using socket = kernel.socket(exchange)
    await socket.acknowledge({ type: 16, flags: 0x600, payload: [] }, soon())
    t.match(kernel.sent, [[{ type: 16, flags: 0x600 | NLM_F_REQUEST | NLM_F_ACK, seq: 1, lastSeq: 1 }]])
    t.ok((kernel.sent[0]?.[0]?.timeoutMs ?? 0) > 9000)
  })
}

t.test('get() returns the object before the ACK, and undefined when there is only the ACK', async t => {
  let objects = 1
  const kernel = new FakeKernel(([seq = 0]) =>
    encodeMessages([...Array.from({ length: objects }, () => object(seq)), verdict(seq)]),
  )
  using socket = kernel.socket()
  t.match(await socket.get(GET, soon()), { type: 16, payload: Buffer.from([1, 2, 3, 4]) })
  objects = 0
  t.equal(await socket.get(GET, soon()), undefined)
  objects = 2
  await t.rejects(socket.get(GET, soon()), { name: 'NetlinkError', code: 'EPROTO' })
})

t.test('get() of an absent object is the error of the kernel', async t => {
  const kernel = new FakeKernel(([seq = 0]) => encodeMessages([verdict(seq, -19)]))
  using socket = kernel.socket()
  await t.rejects(socket.get(GET, soon()), {
    name: 'NetlinkError',
    code: 'ENODEV',
    message: 'netlink message type 18: ENODEV',
    outcomeUnknown: false,
  })
})

t.test('dump() asks again when any part is marked as interrupted, and trusts the try that was not (R24)', async t => {
  const marked: readonly (readonly [number, number])[] = [
    [2 | NLM_F_DUMP_INTR, 2],
    [2, 2 | NLM_F_DUMP_INTR],
    [2, 2],
  ]
  const kernel = new FakeKernel(([seq = 0]) => {
    const [objectFlags, doneFlags] = marked[kernel.sent.length - 1] ?? [0, 0]
    return encodeMessages([object(seq), object(seq, objectFlags), done(seq, { flags: doneFlags })])
  })
  using socket = kernel.socket()
  t.equal((await socket.dump(GET, soon())).length, 2, 'of one try only')
  t.match(
    kernel.sent.map(([message]) => message),
    [{ seq: 1 }, { seq: 2 }, { seq: 3, flags: NLM_F_REQUEST | NLM_F_DUMP }],
  )
})

t.test('dump() gives up after 5 interrupted tries and says so (R24, invariant 6)', async t => {
  const kernel = new FakeKernel(([seq = 0]) => encodeMessages([object(seq, NLM_F_DUMP_INTR), done(seq)]))
  using socket = kernel.socket()
  await t.rejects(socket.dump(GET, soon()), {
    name: 'NetlinkError',
    code: 'EINTR',
    message: /interrupted by changes 5 times/,
  })
  t.equal(kernel.sent.length, 5)
})

t.test('dump() stops asking when its deadline passes', async t => {
  const by = Deadline.in(30)
  const kernel = new FakeKernel(async ([seq = 0]) => {
    if (kernel.sent.length === 2) while (!by.isPast()) await new Promise(setImmediate)
    return encodeMessages([done(seq, { flags: NLM_F_DUMP_INTR })])
  })
  using socket = kernel.socket('async')
  await t.rejects(socket.dump(GET, by), DeadlineExceeded)
  t.equal(kernel.sent.length, 2)
})

t.test('dump() honours the errno at the end of the dump', async t => {
  const kernel = new FakeKernel(([seq = 0]) => encodeMessages([object(seq), done(seq, { errno: -22 })]))
  using socket = kernel.socket()
  await t.rejects(socket.dump(GET, soon()), {
    name: 'NetlinkError',
    code: 'EINVAL',
    message: 'netlink message type 18 (dump): EINVAL',
  })
})

const BEGIN = { type: 0x10, flags: 0, payload: Uint8Array.of(0, 0, 0, 10), unacknowledged: true }
const END = { ...BEGIN, type: 0x11 }
const element = (type: number) => ({ type, flags: 0, payload: Uint8Array.of(2, 0, 0, 0) })

t.test('transaction() asks no ACK of unacknowledged messages and ends at the last one that wants it', async t => {
  const kernel = new FakeKernel(([, first = 0, second = 0]) =>
    encodeMessages([verdict(first), object(second), verdict(second)]),
  )
  using socket = kernel.socket()
  t.equal((await socket.transaction([BEGIN, element(0xa0c), element(0xa0c), END], soon())).length, 1)
  t.match(kernel.sent, [
    [
      { seq: 1, flags: NLM_F_REQUEST, lastSeq: 3 },
      { seq: 2, flags: NLM_F_REQUEST | NLM_F_ACK },
      { seq: 3, flags: NLM_F_REQUEST | NLM_F_ACK },
      { seq: 4, flags: NLM_F_REQUEST },
    ],
  ])
})

t.test('transaction() throws the first refusal by sequence number, in whatever order they came', async t => {
  const kernel = new FakeKernel(([, first = 0, second = 0, third = 0]) =>
    encodeMessages([verdict(third, -1), verdict(second, -17), verdict(first)]),
  )
  using socket = kernel.socket()
  await t.rejects(socket.transaction([BEGIN, element(1), element(2), element(3), END], soon()), {
    code: 'EEXIST',
    requestIndex: 2,
    message: 'netlink message type 2 (3 of 5): EEXIST',
  })
})

t.test('transaction() reports the refusal of the whole batch, which answers its unacknowledged begin', async t => {
  const kernel = new FakeKernel(([begin = 0]) => encodeMessages([verdict(begin, -1)]))
  using socket = kernel.socket()
  await t.rejects(socket.transaction([BEGIN, element(1), END], soon()), { code: 'EPERM', requestIndex: 0 })
})

t.test('transaction() does not take a missing ACK for success', async t => {
  const kernel = new FakeKernel(([, second = 0]) => encodeMessages([verdict(second)]))
  using socket = kernel.socket()
  await t.rejects(socket.transaction([element(1), element(2)], soon()), {
    code: 'EPROTO',
    requestIndex: 0,
    outcomeUnknown: true,
  })
})

t.test('transaction() refuses a list whose end could not be known', async t => {
  const kernel = new FakeKernel(() => Buffer.alloc(0))
  using socket = kernel.socket()
  await t.rejects(socket.transaction([BEGIN, END], soon()), TypeError)
  await t.rejects(socket.transaction([], soon()), TypeError)
  t.equal(kernel.sent.length, 0)
})

for (const { code, sent } of [
  { code: 'ETIMEDOUT', sent: true },
  { code: 'ENOBUFS', sent: true },
  { code: 'EPERM', sent: false },
]) {
  t.test(`acknowledge() tells a ${code} that may have been done from one that was not sent (rule 5)`, async t => {
    const cause = exchangeError(code, sent)
    const kernel = new FakeKernel(() => {
      throw cause
    })
    using socket = kernel.socket()
    await t.rejects(socket.acknowledge(GET, soon()), { name: 'NetlinkError', code, outcomeUnknown: sent, cause })
  })
}

t.test('acknowledge() lets a bug pass as what it is', async t => {
  const kernel = new FakeKernel(() => {
    throw new TypeError('lastSeq is -1')
  })
  using socket = kernel.socket()
  await t.rejects(socket.acknowledge(GET, soon()), TypeError)
})

t.test('acknowledge() sends nothing after its deadline', async t => {
  const kernel = new FakeKernel(() => Buffer.alloc(0))
  using socket = kernel.socket()
  await t.rejects(socket.acknowledge(GET, Deadline.in(0)), DeadlineExceeded)
  t.equal(kernel.sent.length, 0)
})

t.test('requests on one socket go out one at a time (two would take each other’s answers)', async t => {
  let underWay = 0
  const kernel = new FakeKernel(async seqs => {
    t.equal(++underWay, 1)
    await new Promise(setImmediate)
    underWay--
    return encodeMessages(seqs.map(seq => verdict(seq)))
  })
  using socket = kernel.socket('async')
  await Promise.all(Array.from({ length: 20 }, () => socket.acknowledge(GET, soon())))
  t.strictSame(
    kernel.sent.map(([message]) => message?.seq),
    Array.from({ length: 20 }, (_, i) => i + 1),
  )
})

t.test('close() waits for the request under way, refuses those behind it, and closes once', async t => {
  const release = Promise.withResolvers<undefined>()
  const kernel = new FakeKernel(async seqs => {
    await release.promise
    return encodeMessages(seqs.map(seq => verdict(seq)))
  })
  const socket = kernel.socket('async')
  const underWay = socket.acknowledge(GET, soon())
  const behind = socket.acknowledge(GET, soon())
  await new Promise(setImmediate)
  socket.close()
  socket.close()
  t.ok(fstatSync(kernel.fd), 'still open')
  release.resolve(undefined)
  await underWay
  await t.rejects(behind, { name: 'NetlinkError', code: 'EBADF', outcomeUnknown: false })
  t.throws(() => fstatSync(kernel.fd), { code: 'EBADF' })
  t.equal(kernel.sent.length, 1)
})

t.test('outcomes() asks the first and the last for an ACK, and takes silence of the others for success', async t => {
  const kernel = new FakeKernel(seqs =>
    encodeMessages(seqs.flatMap((seq, index) => (index === 2 ? [] : [verdict(seq, index === 1 ? -17 : 0)]))),
  )
  using socket = kernel.socket()
  const outcomes = await socket.outcomes([GET, GET, GET, GET], Deadline.in(1000))
  t.strictSame(
    outcomes.map(outcome => outcome?.code),
    [undefined, 'EEXIST', undefined, undefined],
  )
  t.strictSame(
    kernel.sent[0]?.map(({ flags }) => flags & NLM_F_ACK),
    [NLM_F_ACK, 0, 0, NLM_F_ACK],
  )
})

t.test('outcomes() does not take silence for success where there should have been an ACK', async t => {
  const kernel = new FakeKernel(([, ...seqs]) => encodeMessages(seqs.map(seq => verdict(seq))))
  using socket = kernel.socket()
  const [first, last] = await socket.outcomes([GET, GET], Deadline.in(1000))
  t.match(first, { code: 'EPROTO', outcomeUnknown: true })
  t.equal(last, undefined)
})

t.test('get() sends what is asked for at once in one message, and each gets its own answer', async t => {
  const kernel = new FakeKernel(([a = 0, b = 0, c = 0]) =>
    encodeMessages([object(a), verdict(a), verdict(b, -19), object(c), object(c), verdict(c)]),
  )
  using socket = kernel.socket()
  const by = soon()
  const answers = await Promise.allSettled([GET, GET, GET].map(request => socket.get(request, by)))
  t.equal(kernel.sent.length, 1)
  t.match(answers, [
    { status: 'fulfilled', value: { type: 16 } },
    { status: 'rejected', reason: { code: 'ENODEV', outcomeUnknown: false } },
    { status: 'rejected', reason: { code: 'EPROTO' } },
  ])
})

t.test('get() keeps apart what has another deadline, and what does not fit one message', async t => {
  const kernel = new FakeKernel(seqs => encodeMessages(seqs.map(seq => verdict(seq))))
  using socket = kernel.socket()
  const by = soon()
  await Promise.all([soon(), soon(), ...Array.from({ length: 65 }, () => by)].map(each => socket.get(GET, each)))
  t.same(
    kernel.sent.map(({ length }) => length),
    [1, 1, 64, 1],
  )
})

t.test('get() rejects all that were asked for when the exchange fails', async t => {
  const kernel = new FakeKernel(() => Promise.reject(exchangeError('ETIMEDOUT', true)))
  using socket = kernel.socket('async')
  const by = soon()
  const answers = await Promise.allSettled([socket.get(GET, by), socket.get(GET, by)])
  for (const answer of answers) t.match(answer, { status: 'rejected', reason: { code: 'ETIMEDOUT' } })
})

t.test('get() takes certain refusals for an answer: it is not there', async t => {
  const kernel = new FakeKernel(seqs => encodeMessages(seqs.map(seq => verdict(seq, -19))))
  using socket = kernel.socket()
  t.equal(await socket.get(GET, soon(), ['ENOENT', 'ENODEV']), undefined)
  await t.rejects(socket.get(GET, soon(), ['ENOENT']), { code: 'ENODEV' })
})

/** A kernel whose socket is opened with the first exchange, and what that exchange does. */
function laterSocket(answer: NativeAddon['perform']) {
  const kernel = new FakeKernel(seqs => encodeMessages(seqs.map(seq => verdict(seq))))
  const opened: number[] = []
  const addon: NativeAddon = {
    ...kernel.addon(),
    openNetlink: () => {
      throw new Error('opened too early')
    },
    perform: async (steps, timeoutMs) => {
      const performed = await answer(steps, timeoutMs)
      opened.push(...performed.answers.filter(each => typeof each === 'number'))
      return performed
    },
  }
  return {
    kernel,
    opened,
    socket: new NetlinkSocket(addon, { netnsFd: 7, protocol: 0, exchange: 'async', opensLater: true }),
  }
}

t.test('a socket that opens later opens with its first exchange, once, and closes', async t => {
  const { kernel, opened, socket } = laterSocket(async steps => {
    t.match(steps, [{ openIn: 7 }, { socketFd: -1, lastSeq: 1 }])
    return { answers: [openSync('/dev/null', 'r'), encodeMessages([verdict(1)])] }
  })
  await socket.acknowledge(GET, soon())
  await socket.acknowledge(GET, soon())
  t.same([opened.length, kernel.sent.length], [1, 1])
  t.ok(fstatSync(opened[0] ?? -1))
  socket.close()
  t.throws(() => fstatSync(opened[0] ?? -1), { code: 'EBADF' })
})

t.test('a socket that opens later keeps what was opened when its first exchange fails', async t => {
  const { opened, socket } = laterSocket(async () => {
    return { answers: [openSync('/dev/null', 'r')], failure: exchangeError('ETIMEDOUT', true) }
  })
  await t.rejects(socket.acknowledge(GET, soon()), { code: 'ETIMEDOUT', outcomeUnknown: true })
  t.ok(fstatSync(opened[0] ?? -1))
  socket.close()
  t.throws(() => fstatSync(opened[0] ?? -1), { code: 'EBADF' })
})

t.test('a socket that opens later and is closed before opens nothing', async t => {
  const { opened, socket } = laterSocket(() => Promise.reject(new Error('not to be asked')))
  socket.close()
  await t.rejects(socket.acknowledge(GET, soon()), { code: 'EBADF' })
  t.same(opened, [])
})
