import { Fields } from './fields.ts'

const PROBLEMS = {
  'bad-request': { status: 400, title: 'The request is not valid' },
  'bad-address': { status: 400, title: 'The pool never leases this address' },
  forbidden: { status: 403, title: 'The caller may not use this socket' },
  'not-found': { status: 404, title: 'There is no such resource' },
  'unknown-pool': { status: 404, title: 'There is no such pool' },
  'method-not-allowed': { status: 405, title: 'The resource does not have this method' },
  'address-unavailable': { status: 409, title: 'Somebody else has the address' },
  overlaps: { status: 409, title: 'The range overlaps another one' },
  'late-request': { status: 409, title: 'A later request was answered already' },
  'other-instance': { status: 409, title: 'Another daemon has this name' },
  'other-lease': { status: 409, title: 'The attachment has another lease' },
  declined: { status: 421, title: 'The plugin has to do this call itself' },
  'too-large': { status: 413, title: 'The request body is too large' },
  'unsupported-media-type': { status: 415, title: 'The request body is not application/json' },
  internal: { status: 500, title: 'ipamd failed; this is a bug' },
  'store-failed': { status: 500, title: 'The lease store failed' },
  'address-cooling': { status: 503, title: 'The address was released too short a time ago' },
  'not-available-yet': { status: 503, title: 'The pool has no range to lease from yet' },
  busy: { status: 503, title: 'ipamd cannot answer now; try again' },
  'deadline-passed': { status: 503, title: 'The deadline of the request has passed' },
  'pool-exhausted': { status: 503, title: 'The pool has no free address' },
} as const

/** What went wrong, as ipamd names it. On the wire it is a URN: see PROBLEM_URN_PREFIX. */
export type ProblemType = keyof typeof PROBLEMS

/** Members of a problem beside those of RFC 9457, such as `pool`, `family`, `leased`. */
export type ProblemMembers = Readonly<Record<string, string | number>>

/** `type` of a problem document is this, followed by a ProblemType. */
export const PROBLEM_URN_PREFIX = 'urn:tulle:problem:'

/** The media type of a problem document (RFC 9457, section 3). */
export const PROBLEM_MEDIA_TYPE = 'application/problem+json'

/** An answer of ipamd that is a refusal. `detail`, which is also the message, names the thing, its value and what was wanted. */
export class IpamProblem extends Error {
  override readonly name = 'IpamProblem'
  readonly type: ProblemType
  /** The HTTP status, which follows from the type. */
  readonly status: number
  readonly detail: string
  readonly members: ProblemMembers

  constructor(
    type: ProblemType,
    detail: string,
    options: { readonly members?: ProblemMembers; readonly cause?: unknown } = {},
  ) {
    super(detail, options.cause === undefined ? undefined : { cause: options.cause })
    this.type = type
    this.status = PROBLEMS[type].status
    this.detail = detail
    this.members = options.members ?? {}
  }

  /** The problem document (RFC 9457). */
  toWire(): Record<string, string | number> {
    const { title, status } = PROBLEMS[this.type]
    return { ...this.members, type: `${PROBLEM_URN_PREFIX}${this.type}`, title, status, detail: this.detail }
  }
}

/** ipamd did not answer: nobody listens on the socket, the connection broke, or what came back is not an answer of ipamd. */
export class IpamUnavailable extends Error {
  override readonly name = 'IpamUnavailable'
  readonly socketPath: string
  /** True when nobody took the connection: what was to be asked has not been done. */
  readonly wasNeverAsked: boolean

  constructor(socketPath: string, reason: string, options: ErrorOptions & { readonly wasNeverAsked?: boolean } = {}) {
    super(`ipamd at ${socketPath}: ${reason}`, options)
    this.socketPath = socketPath
    this.wasNeverAsked = options.wasNeverAsked ?? false
  }
}

/**
 * Reads a problem document. A type that this version does not know is `internal`, with its URN in the detail: a newer
 * daemon's refusal stays a refusal.
 *
 * @throws {ParseError} when `value` is not a problem document.
 */
export function parseProblem(value: unknown): IpamProblem {
  const fields = Fields.of(value, 'problem')
  const urn = fields.string('type')
  const detail = fields.optionalString('detail') ?? fields.string('title')
  const type = urn.startsWith(PROBLEM_URN_PREFIX) ? urn.slice(PROBLEM_URN_PREFIX.length) : ''
  if (!isProblemType(type)) return new IpamProblem('internal', `${detail} (${urn})`)
  const members: Record<string, string | number> = {}
  for (const [key, member] of Object.entries(fields.value)) {
    if (STANDARD_MEMBERS.has(key)) continue
    if (typeof member === 'string' || typeof member === 'number') members[key] = member
  }
  return new IpamProblem(type, detail, { members })
}

const STANDARD_MEMBERS: ReadonlySet<string> = new Set(['type', 'title', 'status', 'detail', 'instance'])

function isProblemType(text: string): text is ProblemType {
  return Object.hasOwn(PROBLEMS, text)
}
