import type { Socket } from 'node:net'
import { IpamProblem } from '../../lib/ipam/errors.ts'

/** Who may talk to the daemon, and how to see who does. */
export interface PeerCheck {
  /** SO_PEERCRED of a connected Unix socket. */
  readonly peerCredentials: (fd: number) => { readonly uid: number }
  /** The daemon's own user ID: it and root may talk. */
  readonly ownUid: number
}

/** @throws {IpamProblem} forbidden, when the process at the other end is neither root's nor our own user's. */
export function refuseStrangers(socket: Socket, { peerCredentials, ownUid }: PeerCheck): void {
  const { uid } = peerCredentials(descriptorOf(socket))
  if (uid === 0 || uid === ownUid) return
  throw new IpamProblem('forbidden', `user ${uid} may not use this socket: want user 0 or ${ownUid}`)
}

// Node has no public way to the descriptor of a connection, and none to its peer's credentials: the one use of _handle.
function descriptorOf(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, '_handle')
  const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined
  if (typeof fd !== 'number' || fd < 0)
    throw new IpamProblem('forbidden', 'cannot see who is at the other end of the socket')
  return fd
}
