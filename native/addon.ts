import process from 'node:process'

/**
 * An open network namespace. Device and inode identify it; the path it was opened by does not. The caller closes `fd`.
 */
export interface NetnsHandle {
  readonly fd: number
  readonly device: bigint
  readonly inode: bigint
}

/** The process at the other end of a Unix socket, as the kernel recorded it when the connection was made. */
export interface PeerCredentials {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

/** One sysctl to write. The key has slashes and begins with `net/`: `net/ipv4/conf/all/rp_filter`. */
export type SysctlSetting = readonly [key: string, value: string]

/**
 * What every function of the addon throws when the kernel refuses.
 *
 * `errno` is negative, as in the errors of Node itself. `message` reads `openat /proc/sys/net/ipv4/x: ENOENT`.
 */
export interface NativeError extends Error {
  readonly code: string
  readonly errno: number
  readonly syscall: string
  /** Of writeSysctls() only: which setting was refused. Those before it were written. */
  readonly index?: number
}

/** What an exchange over netlink throws: whether the kernel has the request decides what may have happened. */
export interface ExchangeError extends NativeError {
  /** False when the kernel never got the request. True when it did, and the answer was not seen. */
  readonly sent: boolean
}

/** One step of perform(). */
export type Step =
  /** Opens a socket of NETLINK_ROUTE in a namespace, as openNetlink() does. Its answer is the descriptor, which is the caller's. */
  | { readonly openIn: number }
  /** As transact(). `socketFd` -1 is the socket that a step before it has opened. Its answer is that of the kernel. */
  | { readonly socketFd: number; readonly request: Uint8Array; readonly lastSeq: number }
  /** As writeSysctls(). Its answer is undefined. */
  | { readonly netnsFd: number; readonly settings: readonly SysctlSetting[] }

/** What became of steps. */
export interface Performed {
  /** Of the steps that were done, in their order. */
  readonly answers: readonly (Buffer | number | undefined)[]
  /** Why the step after these failed. Its `index` is that of writeSysctls(). */
  readonly failure?: ExchangeError
}

/**
 * What Node cannot do itself: work in another network namespace, netlink, file locks, peer credentials.
 *
 * No thread of Node ever changes its namespace: where a namespace is given, a short-lived thread enters it and ends
 * there. `netnsFd` -1 means the namespace of this process, and needs no thread. Every descriptor returned is
 * close-on-exec and belongs to the caller. An argument of a wrong type or out of range is a TypeError. Timeouts are in
 * milliseconds, fractions allowed, from 0 to 24 hours.
 */
export interface NativeAddon {
  /**
   * Opens the network namespace at `path`. Never blocks, and opens nothing that is not a namespace (a FIFO, a device).
   *
   * @throws {NativeError} 'ENOTNETNS' when something else is there (the message says what), or the errno of open(2).
   */
  openNetns(path: string): NetnsHandle

  /** Opens the network namespace of this process. */
  openOwnNetns(): NetnsHandle

  /**
   * Opens a bound netlink socket of `protocol` (0 is NETLINK_ROUTE, 12 NETLINK_NETFILTER) in a namespace.
   *
   * Extended ACK, capped ACK and strict checking of dumps are on (Linux 4.20 and newer). The receive buffer is 4 MiB
   * where we may (CAP_NET_ADMIN), else what `net.core.rmem_max` allows.
   */
  openNetlink(netnsFd: number, protocol: number): number

  /**
   * As openNetlink(), and hears multicast groups: `groups` is a mask, bit 0 for group 1 (rtnetlink(7), RTMGRP_*). Such a
   * socket is for receive() alone.
   */
  openNetlinkListener(netnsFd: number, protocol: number, groups: number): number

  /**
   * Waits on the thread pool, at most `timeoutMs`, until there is something to read, and resolves with the whole datagrams
   * that are there (256 KiB at most); empty when nothing came. It takes one thread of the pool for as long as it waits, and
   * `socketFd` must stay open until the promise settles.
   *
   * @throws {NativeError} 'ENOBUFS' when the kernel had to drop what did not fit: go on, and look at everything.
   */
  receive(socketFd: number, timeoutMs: number): Promise<Buffer>

  /**
   * Sends `request` (one or more whole messages) and returns the messages that answer it, headers included.
   *
   * The answer ends with the NLMSG_ERROR or NLMSG_DONE whose sequence number is `lastSeq`, or with an NLMSG_ERROR for
   * the first message when that asked for no ACK: so the kernel refuses a whole nf_tables batch. Answers to older
   * requests are dropped. What an NLMSG_ERROR says is not looked at here: it is not thrown.
   *
   * Only one exchange at a time may use a socket: two would take each other's answers.
   *
   * @throws {ExchangeError} the errno of sendto(2), ETIMEDOUT, ENOBUFS (the kernel dropped an answer) or EMSGSIZE (more
   *   than 64 MiB of answer). With no time left at the start it is ETIMEDOUT and nothing was sent.
   */
  transactSync(socketFd: number, request: Uint8Array, lastSeq: number, timeoutMs: number): Buffer

  /**
   * transactSync() on the thread pool. The time runs from the call; `socketFd` must stay open until the promise
   * settles.
   */
  transact(socketFd: number, request: Uint8Array, lastSeq: number, timeoutMs: number): Promise<Buffer>

  /**
   * Does steps one after another on the thread pool, which is cheaper than going there for each. It ends at the first that fails,
   * and after an exchange in whose answer something is refused (an NLMSG_ERROR or NLMSG_DONE with an error).
   *
   * The time runs from the call, and no step begins when it is over: that step fails with ETIMEDOUT. The sockets must stay open until
   * the promise settles; descriptors of namespaces may be closed once this has returned.
   */
  perform(steps: readonly Step[], timeoutMs: number): Promise<Performed>

  /**
   * From now on sysctls are below `path` in place of /proc/sys. It is for the whole process, and an absolute path of at most 255
   * bytes. Wherever a procfs, or its folder `sys/net`, is mounted, it shows the namespace of the thread that opens a file in it.
   */
  useSysctlFolder(path: string): void

  /** Reads `/proc/sys/<key>` as the namespace sees it, without the newline at its end. */
  readSysctl(netnsFd: number, key: string): string

  /**
   * Writes sysctls in order, in one visit to the namespace. Stops at the first failure.
   *
   * @throws {NativeError} with `index`.
   */
  writeSysctls(netnsFd: number, settings: readonly SysctlSetting[]): void

  /** Takes the exclusive flock(2) of an open file. False when somebody else has it. Never waits. */
  tryLock(fd: number): boolean

  /** @throws {NativeError} 'ENOTCONN' when the socket has no peer, 'ENOTSOCK' when it is no socket. */
  peerCredentials(fd: number): PeerCredentials

  /** Blocks until `fd` has something to read, its other end is closed, or it failed. False when the time ran out. */
  waitReadable(fd: number, timeoutMs: number): boolean

  /**
   * Gives back to the kernel what C code has freed and its allocator keeps: malloc_trim(3). V8's heap is no part of it.
   *
   * @returns False when there was nothing to give back.
   */
  trimMemory(): boolean

  /**
   * Calls `onDeleted` with the index of each link that has left the namespace of this process, on the event loop, until the
   * returned function is called. It does not keep the event loop alive. Links that go faster than they are heard of are not
   * told: who waits for one needs another way to know.
   */
  watchDeletedLinks(onDeleted: (index: number) => void): () => void
}

/**
 * Loads the addon from its file. Nothing is loaded before the first call.
 *
 * @param path absolute path of `tulle.node`.
 * @throws {Error} naming the path, with the loader's words, when it cannot be loaded.
 */
export function loadAddon(path: string): NativeAddon {
  const module: { exports: Partial<NativeAddon> } = { exports: {} }
  try {
    // Not require(): a single executable's require() knows only built-in modules, and a snapshot has none at all.
    process.dlopen(module, path)
  } catch (cause) {
    throw new Error(`Cannot load the native addon ${path}: ${messageOf(cause)}`, { cause })
  }
  if (!isWhole(module.exports)) throw new Error(`Cannot use the native addon ${path}: it is of another version`)
  return module.exports
}

const FUNCTIONS: readonly (keyof NativeAddon)[] = [
  'openNetns',
  'openOwnNetns',
  'openNetlink',
  'openNetlinkListener',
  'receive',
  'transactSync',
  'transact',
  'perform',
  'useSysctlFolder',
  'readSysctl',
  'writeSysctls',
  'tryLock',
  'peerCredentials',
  'waitReadable',
  'trimMemory',
  'watchDeletedLinks',
]

function isWhole(exports: Partial<NativeAddon>): exports is NativeAddon {
  return FUNCTIONS.every(name => typeof exports[name] === 'function')
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
