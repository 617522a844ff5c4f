import { chmodSync, fstatSync, lstatSync, readFileSync, unlinkSync } from 'node:fs'
import { connect, type Server } from 'node:net'

const PROBE_TIMEOUT_MS = 1000
const BACKLOG = 1024

/**
 * Listens on a Unix socket with mode 0600. A socket file that nobody listens on any more is replaced. The caller holds the
 * lock of the path, so no other ipamd does the same, and the folder is private, so nobody connects before the mode is set.
 *
 * @throws {Error} naming the path, when somebody listens on it or when it is no socket.
 */
export async function listenOnSocket(server: Server, path: string): Promise<void> {
  await removeStaleSocket(path)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ path, backlog: BACKLOG }, () => {
      server.off('error', reject)
      resolve()
    })
  })
  chmodSync(path, 0o600)
}

/**
 * Takes over a Unix socket that listens already: whoever made it keeps it when the daemon stops, and callers that come
 * meanwhile wait. It gets mode 0600, as our own.
 *
 * @throws {Error} naming the descriptor, when it is no such socket, or has another path than the plugins will look for.
 */
export async function listenOnInherited(
  server: Server,
  { fd, path }: { readonly fd: number; readonly path: string },
): Promise<void> {
  if (!fstatSync(fd).isSocket()) throw new Error(`Cannot listen on descriptor ${fd}: it is no socket`)
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ fd }, () => {
      server.off('error', reject)
      resolve()
    })
  })
  // A Unix socket that was handed over has no address here.
  if (server.address() !== null && typeof server.address() === 'object') {
    throw new Error(`Cannot listen on descriptor ${fd}: it is a network socket, want a Unix socket`)
  }
  const bound = boundPath(fd)
  if (bound !== undefined && bound !== path) {
    throw new Error(`Cannot listen on descriptor ${fd}: it is the socket ${bound}, want ${path} as configured`)
  }
  chmodSync(path, 0o600)
}

/**
 * Where a Unix socket was bound, which Node does not tell. Undefined when that can't be seen: the list has the sockets of our
 * own network namespace only (proc_net(5)).
 */
function boundPath(fd: number): string | undefined {
  const inode = String(fstatSync(fd).ino)
  const lines = readFileSync('/proc/self/net/unix', 'utf8').split('\n')
  const columns = lines.map(line => line.trim().split(/ +/)).find(each => each[6] === inode)
  return columns === undefined ? undefined : columns.slice(7).join(' ')
}

async function removeStaleSocket(path: string): Promise<void> {
  const stats = lstatSync(path, { throwIfNoEntry: false })
  if (stats === undefined) return
  if (!stats.isSocket()) throw new Error(`Cannot listen on ${path}: it exists and is no socket`)
  if (await hasListener(path)) throw new Error(`Cannot listen on ${path}: another process listens on it`)
  unlinkSync(path)
}

function hasListener(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path)
    // Whoever lets us wait is alive.
    socket.setTimeout(PROBE_TIMEOUT_MS, () => settle(true))
    socket.once('connect', () => settle(true))
    socket.once('error', (cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ECONNREFUSED' || cause.code === 'ENOENT') settle(false)
      else reject(new Error(`Cannot see whether somebody listens on ${path}: ${cause.message}`, { cause }))
    })
    function settle(answer: boolean): void {
      socket.destroy()
      resolve(answer)
    }
  })
}
