import { execFile, execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, mkdirSync, openSync, readdirSync, symlinkSync, writeSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { createServer, connect } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { promisify } from 'node:util'
import t from 'tap'
import type { NativeAddon } from './addon.ts'
import { loadAddon } from './addon.ts'
import { buildAddon } from './build.ts'

const FILE = resolve(import.meta.dirname, '../dist/bin/lib/tulle.node')
await buildAddon(FILE)
const addon = loadAddon(FILE)

/** A callable with any arguments: what a caller without types could do. */
function untyped(name: keyof NativeAddon): (...values: unknown[]) => unknown {
  return (...values) => Reflect.apply(addon[name], undefined, values)
}

/** The descriptor of a socket, which Node shows nowhere in its types. */
function fdOf(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, '_handle')
  if (typeof handle !== 'object' || handle === null) throw new Error('the socket has no handle')
  return Number(Reflect.get(handle, 'fd'))
}

function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length
}

t.test('loadAddon() names the path and the reason', async t => {
  const file = join(t.testdir({ 'not-an-addon': 'text' }), 'not-an-addon')
  t.throws(() => loadAddon(file), { message: new RegExp(`^Cannot load the native addon ${file}: .*`) })
  t.throws(() => loadAddon('/nonexistent.node'), { message: /^Cannot load the native addon \/nonexistent\.node: / })
})

t.test('every function refuses wrong arguments with a TypeError that names them (invariant 8)', async t => {
  const whole = new Uint8Array(16)
  whole[0] = 16
  const bytes = (length: number) => Uint8Array.of(length, 0, 0, 0, ...new Uint8Array(12))
  const cases: readonly (readonly [keyof NativeAddon, readonly unknown[], RegExp])[] = [
    ['openNetns', [], /^path is undefined: want a string/],
    ['openNetns', [42], /^path is 42: want a string/],
    ['openNetns', [''], /^path has 0 bytes: want 1 to 4095/],
    ['openNetns', ['/x\0y'], /^path has a NUL byte/],
    ['openNetns', ['/'.repeat(4096)], /^path has 4096 bytes/],
    ['openNetlink', [], /^netnsFd is undefined/],
    ['openNetlink', [-2, 0], /^netnsFd is -2: want an integer from -1 to 2147483647/],
    ['openNetlink', [1.5, 0], /^netnsFd is 1.5/],
    ['openNetlink', [NaN, 0], /^netnsFd is nan/],
    ['openNetlink', [-1n, 0], /^netnsFd is a bigint/],
    ['openNetlink', [-1, 32], /^protocol is 32: want an integer from 0 to 31/],
    ['openNetlink', [-1, '0'], /^protocol is a string/],
    ['openNetlinkListener', [-2, 0, 1], /^netnsFd is -2/],
    ['openNetlinkListener', [-1, 32, 1], /^protocol is 32/],
    ['openNetlinkListener', [-1, 0, 0], /^groups is 0: want an integer from 1 to 4294967295/],
    ['receive', [-1, 1], /^socketFd is -1/],
    ['receive', [0, '1'], /^timeoutMs is a string/],
    ['transactSync', [-1, whole, 0, 1], /^socketFd is -1/],
    ['transactSync', [0, [1], 0, 1], /^request is an object: want a Uint8Array/],
    ['transactSync', [0, new Uint16Array(8), 0, 1], /^request is an object: want a Uint8Array/],
    ['transactSync', [0, new ArrayBuffer(16), 0, 1], /^request is an object/],
    ['transactSync', [0, new Uint8Array(0), 0, 1], /^request has 0 bytes/],
    ['transactSync', [0, new Uint8Array(8), 0, 1], /^request is malformed: a header is cut short/],
    ['transactSync', [0, bytes(15), 0, 1], /^request is malformed: a length does not fit/],
    ['transactSync', [0, bytes(17), 0, 1], /^request is malformed: a length does not fit/],
    ['transactSync', [0, new Uint8Array(16).fill(255), 0, 1], /^request is malformed: a length does not fit/],
    ['transactSync', [0, whole, 7, 1], /^request is malformed: no message has the sequence number lastSeq/],
    ['transactSync', [0, whole, -1, 1], /^lastSeq is -1: want an integer from 0 to 4294967295/],
    ['transactSync', [0, whole, 2 ** 32, 1], /^lastSeq is 4294967296/],
    ['transactSync', [0, whole, 0, -1], /^timeoutMs is -1: want milliseconds from 0 to 86400000/],
    ['transactSync', [0, whole, 0, Infinity], /^timeoutMs is inf/],
    ['transactSync', [0, whole, 0, NaN], /^timeoutMs is nan/],
    ['transact', [0, whole, 7, 1], /^request is malformed/],
    ['transact', [0, whole, 0], /^timeoutMs is undefined/],
    ['readSysctl', [-1], /^key is undefined/],
    ['readSysctl', [-1, 'kernel/hostname'], /^key is kernel\/hostname: want a path that begins with net\//],
    ['readSysctl', [-1, 'net'], /^key is net: want/],
    ['readSysctl', [-1, 'net/'], /want a path that begins with net\//],
    ['readSysctl', [-1, 'net/../kernel/hostname'], /want a path that begins with net\//],
    ['readSysctl', [-1, 'net/ipv4/..'], /want a path that begins with net\//],
    ['readSysctl', [-1, 'net/./ipv4'], /want a path that begins with net\//],
    ['readSysctl', [-1, 'net//ipv4'], /want a path that begins with net\//],
    ['readSysctl', [-1, `net/${'x'.repeat(252)}`], /^key has 256 bytes: want 1 to 255/],
    ['perform', [[], 100], /^steps: want an array of 1 to 64/],
    ['perform', [{}, 100], /^steps: want an array/],
    ['perform', [Array.from({ length: 65 }, () => ({ openIn: -1 })), 100], /^steps: want an array of 1 to 64/],
    ['perform', [[{ openIn: -1 }], -1], /^timeoutMs is -1/],
    ['perform', [[7], 100], /^step 0: want an object/],
    ['perform', [[{}], 100], /^socketFd is undefined/],
    ['perform', [[{ openIn: '0' }], 100], /^openIn is a string/],
    ['perform', [[{ netnsFd: -2, settings: [] }], 100], /^netnsFd is -2/],
    ['perform', [[{ netnsFd: -1, settings: 'x' }], 100], /^settings: want an array/],
    ['perform', [[{ socketFd: 0, request: bytes(15), lastSeq: 0 }], 100], /^request is malformed/],
    ['perform', [[{ socketFd: -1, request: whole, lastSeq: 0 }], 100], /^step 0: socketFd is -1: want a step/],
    ['perform', [[{ socketFd: -1, request: whole, lastSeq: 0 }, { openIn: -1 }], 100], /^step 0: socketFd is -1/],
    ['writeSysctls', [-1, 'net/ipv4/ip_forward'], /^settings: want an array/],
    ['writeSysctls', [-1, ['net/ipv4/ip_forward']], /^a setting is no array/],
    ['writeSysctls', [-1, [['net/ipv4/ip_forward']]], /^value is undefined/],
    ['writeSysctls', [-1, [['net/ipv4/ip_forward', 1]]], /^value is 1: want a string/],
    ['writeSysctls', [-1, [['net/ipv4/ip_forward', '']]], /^value has 0 bytes/],
    ['writeSysctls', [-1, [['kernel/hostname', 'x']]], /want a path that begins with net\//],
    ['writeSysctls', [-1, Array.from({ length: 1025 }, () => ['net/x', '0'])], /at most 1024/],
    ['tryLock', [], /^fd is undefined/],
    ['tryLock', [-1], /^fd is -1/],
    ['peerCredentials', [{}], /^fd is an object/],
    ['waitReadable', [0], /^timeoutMs is undefined/],
    ['waitReadable', [0, 86_400_001], /^timeoutMs is 86400001/],
  ]
  for (const [name, values, message] of cases) {
    t.throws(() => untyped(name)(...values), { constructor: TypeError, message }, `${name}(${String(message)})`)
  }
})

t.test('writeSysctls() passes on what a hostile array throws', async t => {
  const settings = Object.defineProperty([], '0', {
    enumerable: true,
    get() {
      throw new RangeError('from the getter')
    },
  })
  t.throws(() => untyped('writeSysctls')(-1, settings), { constructor: RangeError, message: 'from the getter' })
})

t.test('openNetns() says what is there instead of a network namespace, and leaks nothing', async t => {
  const folder = t.testdir({ file: '' })
  const at = (name: string) => join(folder, name)
  mkdirSync(at('folder'))
  execFileSync('mkfifo', [at('fifo')])
  symlinkSync(at('nowhere'), at('dangling'))
  const before = openDescriptors()
  for (const [path, kind] of [
    [at('file'), 'a regular file'],
    [at('folder'), 'a directory'],
    [at('fifo'), 'a FIFO'],
    ['/dev/null', 'a character device'],
    ['/proc/self/ns/mnt', 'a mount namespace'],
    ['/proc/self/ns/user', 'a user namespace'],
  ] as const) {
    const message = `${path} is ${kind}: want a network namespace`
    t.throws(() => addon.openNetns(path), { code: 'ENOTNETNS', errno: -22, message })
  }
  for (const path of [at('nowhere'), at('dangling')]) {
    const message = `openat ${path}: ENOENT`
    t.throws(() => addon.openNetns(path), { code: 'ENOENT', errno: -2, syscall: 'openat', message })
  }
  t.throws(() => addon.openNetns(at('file/below')), { code: 'ENOTDIR' })
  t.equal(openDescriptors(), before)
})

t.test('openNetns() and openOwnNetns() give the same identity for the same namespace', async t => {
  const own = addon.openOwnNetns()
  const byPath = addon.openNetns('/proc/self/ns/net')
  t.not(byPath.fd, own.fd)
  t.strictSame([byPath.device, byPath.inode], [own.device, own.inode])
  t.type(own.inode, 'bigint')
  closeSync(own.fd)
  closeSync(byPath.fd)
})

t.test('readSysctl() reads without the newline at the end', async t => {
  t.match(addon.readSysctl(-1, 'net/ipv4/ip_forward'), /^[01]$/)
  t.match(addon.readSysctl(-1, 'net/ipv4/ip_local_port_range'), /^\d+\t\d+$/)
})

t.test('readSysctl() throws the errno with the whole path', async t => {
  const message = 'openat /proc/sys/net/ipv4/nonesuch: ENOENT'
  t.throws(() => addon.readSysctl(-1, 'net/ipv4/nonesuch'), { code: 'ENOENT', errno: -2, syscall: 'openat', message })
  t.throws(() => addon.readSysctl(-1, 'net/ipv4'), { code: 'EISDIR', syscall: 'read' })
})

t.test('writeSysctls() writes nothing when there is nothing to write', async t => {
  t.equal(addon.writeSysctls(-1, []), undefined)
})

t.test('trimMemory() gives back what was freed below something that is still used', async t => {
  const fill = (rows: number): DatabaseSync => {
    const database = new DatabaseSync(':memory:')
    database.exec('CREATE TABLE t (a)')
    const insert = database.prepare('INSERT INTO t VALUES (randomblob(1000))')
    for (let row = 0; row < rows; row += 1) insert.run()
    return database
  }
  const large = fill(40_000)
  using _above = fill(10)
  large.close()
  const before = process.memoryUsage.rss()
  t.equal(addon.trimMemory(), true)
  const after = process.memoryUsage.rss()
  t.ok(after < before - 20 * 2 ** 20, `${before} before, ${after} after`)
})

t.test('tryLock() has one holder at a time, and closing frees the lock', async t => {
  const path = join(t.testdir({ lock: '' }), 'lock')
  const first = openSync(path, 'r')
  const second = openSync(path, 'r')
  t.equal(addon.tryLock(first), true)
  t.equal(addon.tryLock(first), true, 'the holder may ask again')
  t.equal(addon.tryLock(second), false)
  closeSync(first)
  t.equal(addon.tryLock(second), true)
  closeSync(second)
  t.throws(() => addon.tryLock(second), { code: 'EBADF', syscall: 'flock' })
})

t.test('peerCredentials() of a Unix socket are those of the process at the other end', async t => {
  // Not t.testdir(): a socket's path may have no more than 107 bytes.
  const folder = await mkdtempDisposable(join(tmpdir(), 'tulle-'))
  t.teardown(() => folder.remove())
  const path = join(folder.path, 's')
  const server = createServer()
  server.listen(path)
  await once(server, 'listening')
  const client = connect(path)
  const [accepted]: Socket[] = await once(server, 'connection')
  if (accepted === undefined) throw new Error('no connection')
  const { pid } = process
  t.strictSame(addon.peerCredentials(fdOf(accepted)), { pid, uid: process.getuid?.(), gid: process.getgid?.() })
  client.destroy()
  accepted.destroy()
  server.close()
  await once(server, 'close')
})

t.test('peerCredentials() refuses what has no peer', async t => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const client = connect(address.port, '127.0.0.1')
  await once(client, 'connect')
  t.throws(() => addon.peerCredentials(fdOf(client)), { code: 'ENOTCONN' }, 'TCP knows no credentials')
  client.destroy()
  server.close()
  const file = openSync('/dev/null', 'r')
  t.throws(() => addon.peerCredentials(file), { code: 'ENOTSOCK', syscall: 'getsockopt' })
  closeSync(file)
})

t.test('waitReadable() sees data, a hang-up and the end of its time (invariant 6)', async t => {
  const path = join(t.testdir({}), 'fifo')
  execFileSync('mkfifo', [path])
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const writer = openSync(path, 'w')
  const began = performance.now()
  t.equal(addon.waitReadable(reader, 20.5), false)
  t.ok(performance.now() - began >= 20.5, 'not before its time')
  t.equal(addon.waitReadable(reader, 0), false, '0 only looks')
  writeSync(writer, 'x')
  t.equal(addon.waitReadable(reader, 10_000), true)
  t.equal(addon.waitReadable(reader, 0), true)
  closeSync(writer)
  t.equal(addon.waitReadable(reader, 10_000), true, 'the writer hung up')
  closeSync(reader)
  t.throws(() => addon.waitReadable(reader, 0), { code: 'EBADF', syscall: 'poll' })
})

t.test('waitReadable() is not cut short by signals', async t => {
  const path = join(t.testdir({}), 'fifo')
  execFileSync('mkfifo', [path])
  const fifo = openSync(path, 'r+')
  let caught = 0
  process.on('SIGUSR2', () => (caught += 1))
  const kills = promisify(execFile)('sh', ['-c', 'for i in $(seq 20); do kill -USR2 $PPID; done'])
  const began = performance.now()
  t.equal(addon.waitReadable(fifo, 200), false)
  t.ok(performance.now() - began >= 200)
  await kills
  process.removeAllListeners('SIGUSR2')
  t.ok(caught > 0, `${caught} signals arrived`)
  closeSync(fifo)
})

t.test('transactSync() on something that is no netlink socket is an error, and nothing was sent', async t => {
  const file = openSync('/dev/null', 'r')
  const message = Buffer.alloc(16)
  message.writeUInt32LE(16, 0)
  t.throws(() => addon.transactSync(file, message, 0, 100), { code: 'ENOTSOCK', sent: false })
  await t.rejects(addon.transact(file, message, 0, 100), { code: 'ENOTSOCK', sent: false })
  closeSync(file)
})
