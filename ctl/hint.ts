import type { IpamUnavailable } from '../lib/ipam/errors.ts'

/** What the operator can look at when ipamd does not answer; '' or lines, each ended by a newline. */
export function hintFor({ cause, socketPath }: IpamUnavailable): string {
  const code: unknown = typeof cause === 'object' && cause !== null ? Reflect.get(cause, 'code') : undefined
  switch (code) {
    case 'ENOENT':
      return `There is no such socket. Does ipamd run, and does "socket" in its configuration say the same? --socket PATH names another one.\n`
    case 'ECONNREFUSED':
      return `The socket is there, but nobody listens: ipamd was killed, or starts just now. Its log says more.\n`
    case 'EACCES':
    case 'EPERM':
      return `Only root and the user of ipamd may use the socket.\n`
    case 'ENOTSOCK':
    case 'ENOTDIR':
      return `${JSON.stringify(socketPath)} is not a socket.\n`
    default:
      return `The log of ipamd says more. When it is only slow: --timeout SECONDS waits longer.\n`
  }
}
