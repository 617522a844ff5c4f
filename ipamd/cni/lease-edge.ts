import type { Ipam } from '../../lib/attach/edges.ts'
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

/** The leases of this daemon, without its socket: answers and refusals are those that a client gets. */
export function leaseEdge({ service, spool, asker, countRefusal }: LeaseEdges): Ipam {
  return {
    async allocate(request) {
      try {
        // A release of this attachment that is still in the spool is of an older life of it, and must not end the new lease.
        await spool.consume(request.attachment)
        return (await service.allocate({ ...request, ...asker })).lease
      } catch (failure) {
        const problem = problemFor(failure)
        countRefusal(problem.type)
        throw problem
      }
    },
    release: request => asClient(async () => (await service.release(request, 'del')).kind === 'released'),
    collect: request => asClient(() => service.collect(request)),
    find: attachment => asClient(async () => (await service.find(attachment))[0]),
    status: pool => asClient(() => service.checkReady(pool)),
  }
}

async function asClient<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask()
  } catch (failure) {
    throw problemFor(failure)
  }
}
