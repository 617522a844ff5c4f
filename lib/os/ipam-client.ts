import type { Ipam, Leasing } from '../attach/edges.ts'
import type { AttachmentKey } from '../ipam/attachment.ts'
import { IpamUnavailable, parseProblem } from '../ipam/errors.ts'
import { parseGrantReply, grantRequestToWire, type GrantReply, type GrantRequest } from '../ipam/grants.ts'
import type { Lease } from '../ipam/lease.ts'
import {
  allocateRequestToWire,
  collectRequestToWire,
  leaseFilterToQuery,
  parseAllocateReply,
  parseCollectReply,
  parseLeasesReply,
  parseReleaseReply,
  PATHS,
  releaseRequestToWire,
  statusPath,
  type AllocateRequest,
  type CollectReply,
  type CollectRequest,
  type ReleaseRequest,
} from '../ipam/protocol.ts'
import {
  parsePodCidrsReply,
  podCidrsRequestToWire,
  type PodCidrsReply,
  type PodCidrsRequest,
} from '../ipam/pod-cidrs.ts'
import type { TraceContext } from '../ipam/trace-context.ts'
import { ParseError } from '../net/parse-error.ts'
import type { Deadline } from '../time/deadline.ts'
import { exchange, type HttpRequest } from './http-over-unix.ts'

/** What the daemon keeps with each lease about who asked for it. */
export type Asker = Pick<AllocateRequest, 'via' | 'hostNetnsInode'>

/** What goes with requests beside what they ask for. */
export interface IpamClientOptions {
  /** Called for each ADD, and only then: what gives addresses back must not fail on it. */
  readonly asker?: () => Asker
  /** Sent as headers with each request, so that ipamd can log to which trace it belongs (checklist E11). */
  readonly trace?: TraceContext
}

/** ipamd over its Unix socket. */
export class IpamClient implements Ipam {
  readonly #socketPath: string
  readonly #asker: () => Asker
  readonly #trace: TraceContext

  constructor(socketPath: string, { asker = () => ({}), trace = {} }: IpamClientOptions = {}) {
    this.#socketPath = socketPath
    this.#asker = asker
    this.#trace = trace
  }

  async allocate(request: AllocateRequest, by: Deadline): Promise<Leasing> {
    const body = allocateRequestToWire({ ...request, ...this.#asker() })
    const reply = await this.#ask({ method: 'POST', path: PATHS.leases, body }, { by, parse: parseAllocateReply })
    // ipamd answers when it is.
    return { ...reply, whenDurable: () => Promise.resolve() }
  }

  async release(request: ReleaseRequest, by: Deadline): Promise<boolean> {
    const body = releaseRequestToWire(request)
    const { released } = await this.#ask(
      { method: 'POST', path: PATHS.release, body },
      { by, parse: parseReleaseReply },
    )
    return released
  }

  collect(request: CollectRequest, by: Deadline): Promise<CollectReply> {
    const body = collectRequestToWire(request)
    return this.#ask({ method: 'POST', path: PATHS.collect, body }, { by, parse: parseCollectReply })
  }

  async find(attachment: AttachmentKey, by: Deadline): Promise<Lease | undefined> {
    const path = `${PATHS.leases}${leaseFilterToQuery(attachment)}`
    const { leases } = await this.#ask({ method: 'GET', path }, { by, parse: parseLeasesReply })
    return leases[0]
  }

  async status(pool: string | undefined, by: Deadline): Promise<void> {
    await this.#ask({ method: 'GET', path: statusPath(pool) }, { by, parse: () => undefined })
  }

  /** Says which ranges the cluster gave to this node. Idempotent. @throws {IpamProblem} overlaps, with both ranges. */
  handOverPodCidrs(request: PodCidrsRequest, by: Deadline): Promise<PodCidrsReply> {
    const body = podCidrsRequestToWire(request)
    return this.#ask({ method: 'PUT', path: PATHS.podCidrs, body }, { by, parse: parsePodCidrsReply })
  }

  /** Says which blocks this node has, and gets those that it wants. @throws {IpamProblem} pool-exhausted, late-request and others. */
  grant(request: GrantRequest, by: Deadline): Promise<GrantReply> {
    const body = grantRequestToWire(request)
    return this.#ask({ method: 'POST', path: PATHS.grants, body }, { by, parse: parseGrantReply })
  }

  /** The ranges that were handed over last; none before the first time. */
  podCidrs(by: Deadline): Promise<PodCidrsReply> {
    return this.#ask({ method: 'GET', path: PATHS.podCidrs }, { by, parse: parsePodCidrsReply })
  }

  async #ask<T>(request: HttpRequest, { by, parse }: Answer<T>): Promise<T> {
    by.throwIfPast(`asking ipamd: ${request.method} ${request.path}`)
    const { status, body } = await exchange(this.#socketPath, { ...request, headers: this.#trace }, by)
    try {
      const document: unknown = JSON.parse(body)
      if (status === 200) return parse(document)
      throw parseProblem(document)
    } catch (cause) {
      if (!(cause instanceof SyntaxError || cause instanceof ParseError)) throw cause
      throw new IpamUnavailable(this.#socketPath, `an answer (${status}) that cannot be read: ${cause.message}`, {
        cause,
      })
    }
  }
}

interface Answer<T> {
  readonly by: Deadline
  readonly parse: (document: unknown) => T
}
