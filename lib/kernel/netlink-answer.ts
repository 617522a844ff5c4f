import type { NetlinkMessage } from 'netlink/dist/structs.js'
import type { ExchangeError } from '../../native/addon.ts'
import { errnoName } from './errno.ts'
import { NetlinkError } from './netlink-error.ts'
import { carriesObject, verdictOf } from './netlink-message.ts'
import type { OutgoingMessage, Verdict } from './netlink-message.ts'
import type { NetlinkReply, NetlinkRequest } from './netlink-socket.ts'

/*
 * What the answer to an exchange says of the requests in it.
 */

/** A request as it was sent. */
export interface SentMessage extends OutgoingMessage {
  readonly awaited: boolean
}

/** Only the first and the last ask for an ACK: see NetlinkSocket.outcomes(). */
export function mostlySilent(requests: readonly NetlinkRequest[]): readonly NetlinkRequest[] {
  return requests.map((request, index) => ({
    ...request,
    unacknowledged: index > 0 && index < requests.length - 1,
  }))
}

/** How each of the requests ended that mostlySilent() made: undefined, or why it was refused. */
export function outcomesOf(
  sent: readonly SentMessage[],
  answer: readonly NetlinkMessage[],
): readonly (NetlinkError | undefined)[] {
  const verdicts = new Map<number, Verdict>()
  for (const message of answer) {
    const verdict = verdictOf(message)
    if (verdict !== undefined) verdicts.set(message.seq, verdict)
  }
  return sent.map((message, requestIndex) => {
    const verdict = verdicts.get(message.seq)
    const which = `netlink message type ${message.type}`
    if (verdict === undefined) {
      if (!message.awaited) return undefined
      const doing = `${which}: no ACK came`
      return new NetlinkError({ doing, code: 'EPROTO', requestIndex, outcomeUnknown: true })
    }
    if (verdict.errno >= 0) return undefined
    return new NetlinkError({ doing: which, code: errnoName(verdict.errno), extAck: verdict.extAck, requestIndex })
  })
}

/** The number of the message whose verdict ends the exchange. */
export function lastSeqOf(messages: readonly SentMessage[]): number {
  return messages.findLast(message => message.awaited)?.seq ?? 0
}

export function isAwaited(request: NetlinkRequest): boolean {
  return request.unacknowledged !== true
}

/** The objects of an answer, without its verdicts. */
export function repliesIn(answer: readonly NetlinkMessage[]): readonly NetlinkReply[] {
  return answer.filter(carriesObject).map(({ type, flags, data }) => ({ type, flags, payload: data }))
}

/** True for a refusal with one of these names of an errno. */
export function isRefusedAs(message: NetlinkMessage, codes: readonly string[]): boolean {
  if (codes.length === 0) return false
  const verdict = verdictOf(message)
  return verdict !== undefined && verdict.errno < 0 && codes.includes(errnoName(verdict.errno))
}

/** The one object of an answer, if there is one. @throws {NetlinkError} 'EPROTO' when there are more. */
export function onlyReply(
  answer: readonly NetlinkMessage[],
  request: NetlinkRequest | undefined,
): NetlinkReply | undefined {
  const replies = repliesIn(answer)
  if (replies.length <= 1) return replies[0]
  const asked = request === undefined ? '' : describe([request])
  throw new NetlinkError({ doing: `${asked}: ${replies.length} objects came, want one`, code: 'EPROTO' })
}

/** Throws what the kernel said to the first refused request, or EPROTO when one that asked for an ACK got none. */
export function throwFirstRefusal(
  sent: readonly SentMessage[],
  answer: readonly NetlinkMessage[],
  doing: string,
): void {
  for (const [requestIndex, message] of sent.entries()) {
    const verdicts = answer
      .filter(({ seq }) => seq === message.seq)
      .map(verdictOf)
      .filter(isPresent)
    const refusal = verdicts.find(({ errno }) => errno < 0)
    const which =
      sent.length === 1 ? doing : `netlink message type ${message.type} (${requestIndex + 1} of ${sent.length})`
    if (refusal !== undefined) {
      const { errno, extAck } = refusal
      throw new NetlinkError({ doing: which, code: errnoName(errno), extAck, requestIndex })
    }
    if (message.awaited && verdicts.length === 0) {
      throw new NetlinkError({ doing: `${which}: no ACK came`, code: 'EPROTO', requestIndex, outcomeUnknown: true })
    }
  }
}

function isPresent<T>(value: T | undefined): value is T {
  return value !== undefined
}

/** A failure of the exchange itself. Anything but the addon's own error is a bug and passes as it is. */
export function asNetlinkError(cause: unknown, doing: string): unknown {
  if (!isExchangeError(cause)) return cause
  return new NetlinkError({ doing, code: cause.code, outcomeUnknown: cause.sent, cause })
}

function isExchangeError(error: unknown): error is ExchangeError {
  return (
    error instanceof Error &&
    'code' in error &&
    typeof error.code === 'string' &&
    'sent' in error &&
    typeof error.sent === 'boolean'
  )
}

export function describe(requests: readonly NetlinkRequest[]): string {
  const types = requests.map(request => request.type).join(', ')
  return requests.length === 1 ? `netlink message type ${types}` : `netlink messages of types ${types}`
}
