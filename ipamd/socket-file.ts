import { chmodSync, lstatSync, unlinkSync } from 'node:fs'
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
