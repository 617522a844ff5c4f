import { IpamProblem } from '../../lib/ipam/errors.ts'
import {
  allocateReplyToWire,
  collectReplyToWire,
  leasesReplyToWire,
  parseAllocateRequest,
  parseCollectRequest,
  parseLeaseFilter,
  parseReleaseRequest,
  parseStatusQuery,
  PATHS,
  poolsReplyToWire,
  releaseReplyToWire,
} from '../../lib/ipam/protocol.ts'
import { ParseError } from '../../lib/net/parse-error.ts'
import { quoteText } from '../../lib/net/quote-text.ts'
import type { LeaseService } from '../lease-service.ts'
import type { Spool } from '../spool.ts'

/** What the routes act on. */
export interface Subjects {
  readonly service: LeaseService
  readonly spool: Spool
}

/** Answers one request, whose body and query are not parsed yet. @throws {ParseError} for a bad one, {IpamProblem} to refuse. */
export type Handler = (
  subjects: Subjects,
  input: { readonly body: unknown; readonly query: URLSearchParams },
) => Promise<object>

const ROUTES: ReadonlyMap<string, ReadonlyMap<string, Handler>> = new Map([
  [
    PATHS.leases,
    new Map<string, Handler>([
      ['GET', find],
      ['POST', allocate],
    ]),
  ],
  [PATHS.release, new Map<string, Handler>([['POST', release]])],
  [PATHS.collect, new Map<string, Handler>([['POST', collect]])],
  [PATHS.pools, new Map<string, Handler>([['GET', pools]])],
  [PATHS.status, new Map<string, Handler>([['GET', status]])],
  [PATHS.health, new Map<string, Handler>([['GET', health]])],
])

/** @throws {IpamProblem} not-found, or method-not-allowed with the methods there are. */
export function findHandler(method: string, path: string): Handler {
  const methods = ROUTES.get(path)
  if (methods === undefined) throw new IpamProblem('not-found', `no resource ${quoteText(path)}`)
  const handler = methods.get(method)
  if (handler !== undefined) return handler
  const allow = [...methods.keys()].join(', ')
  throw new IpamProblem('method-not-allowed', `${path} has no method ${method}: want ${allow}`, { members: { allow } })
}

async function allocate({ service, spool }: Subjects, { body }: { readonly body: unknown }): Promise<object> {
  const request = parseAllocateRequest(body)
  // A release of this attachment that is still in the spool is of an older life of it, and must not end the new lease.
  await spool.consume(request.attachment)
  return allocateReplyToWire(await service.allocate(request))
}

async function release({ service }: Subjects, { body }: { readonly body: unknown }): Promise<object> {
  const { kind } = await service.release(parseReleaseRequest(body), 'del')
  return releaseReplyToWire({ released: kind === 'released' })
}

async function collect({ service }: Subjects, { body }: { readonly body: unknown }): Promise<object> {
  return collectReplyToWire(await service.collect(parseCollectRequest(body)))
}

async function find({ service }: Subjects, { query }: { readonly query: URLSearchParams }): Promise<object> {
  return leasesReplyToWire({ leases: await service.find(parseLeaseFilter(query)) })
}

async function pools({ service }: Subjects): Promise<object> {
  return poolsReplyToWire({ pools: await service.pools() })
}

async function status({ service }: Subjects, { query }: { readonly query: URLSearchParams }): Promise<object> {
  await service.checkReady(parseStatusQuery(query))
  return { ready: true }
}

/** The process lives; whether it can lease is asked of the status. */
async function health(): Promise<object> {
  return { status: 'ok' }
}

/** The problem that a failed handler is answered with. */
export function problemFor(failure: unknown): IpamProblem {
  if (failure instanceof IpamProblem) return failure
  if (failure instanceof ParseError) return new IpamProblem('bad-request', failure.message, { cause: failure })
  return new IpamProblem('internal', 'ipamd failed; its log has more', { cause: failure })
}
