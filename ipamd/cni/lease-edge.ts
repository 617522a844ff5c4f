import type { Ipam } from '../../lib/attach/edges.ts'
import {
  allocateRequestToWire,
  collectRequestToWire,
  leaseFilterToQuery,
  parseAllocateRequest,
  parseCollectRequest,
  parseLeaseFilter,
  parseReleaseRequest,
  parseStatusQuery,
  releaseRequestToWire,
} from '../../lib/ipam/protocol.ts'
import type { Asker } from '../../lib/os/ipam-client.ts'
import { problemFor } from '../problems.ts'
import type { LeaseService } from '../lease-service.ts'
import type { Spool } from '../spool.ts'

/** What the engine asks for leases, when it runs in the daemon. */
export interface LeaseEdges {
  readonly service: LeaseService
  readonly spool: Pick<Spool, 'consume'>
  /** As ipamd knows a run of the plugin on this node. */
  readonly asker: Asker
  /** Told the type of the problem when a lease is refused. */
  readonly countRefusal: (problem: string) => void
}

/**
 * The leases of this daemon, without its socket: answers and refusals are those that a client gets.
 *
 * Requests are read as they are from the socket, because what is refused there must not be stored from here.
 */
export function leaseEdge({ service, spool, asker, countRefusal }: LeaseEdges): Ipam {
  return {
    async allocate(asked) {
      try {
        const request = parseAllocateRequest(allocateRequestToWire({ ...asked, ...asker }))
        // A release of this attachment that is still in the spool is of an older life of it, and must not end the new lease.
        await spool.consume(request.attachment)
        const { reply, whenDurable } = await service.lease(request)
        return { ...reply, whenDurable: () => asClient(whenDurable) }
      } catch (failure) {
        const problem = problemFor(failure)
        countRefusal(problem.type)
        throw problem
      }
    },
    release: request =>
      asClient(async () => {
        const { reply } = await service.end(parseReleaseRequest(releaseRequestToWire(request)), 'del')
        return reply.kind === 'released'
      }),
    collect: request => asClient(() => service.collect(parseCollectRequest(collectRequestToWire(request)))),
    find: attachment =>
      asClient(async () => {
        const filter = parseLeaseFilter(new URLSearchParams(leaseFilterToQuery(attachment)))
        return (await service.find(filter))[0]
      }),
    status: pool =>
      asClient(() =>
        service.checkReady(pool === undefined ? undefined : parseStatusQuery(new URLSearchParams({ pool }))),
      ),
  }
}

async function asClient<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask()
  } catch (failure) {
    throw problemFor(failure)
  }
}
