import {
  allocateReplyToWire,
  collectReplyToWire,
  parseAllocateRequest,
  parseCollectRequest,
  parseReleaseRequest,
  parseStatusQuery,
  releaseReplyToWire,
} from '../../lib/ipam/protocol.ts'
import type { Input, Subjects } from './handler.ts'
import { jsonReply, type Reply } from './reply.ts'

export async function allocate({ service, spool }: Subjects, { body }: Input): Promise<Reply> {
  const request = parseAllocateRequest(body)
  // A release of this attachment that is still in the spool is of an older life of it, and must not end the new lease.
  await spool.consume(request.attachment)
  return jsonReply(allocateReplyToWire(await service.allocate(request)))
}

export async function release({ service }: Subjects, { body }: Input): Promise<Reply> {
  const request = parseReleaseRequest(body)
  const { kind } = await service.release(request, request.isForced === true ? 'force' : 'del')
  return jsonReply(releaseReplyToWire({ released: kind === 'released' }))
}

export async function collect({ service }: Subjects, { body }: Input): Promise<Reply> {
  return jsonReply(collectReplyToWire(await service.collect(parseCollectRequest(body))))
}

export async function status({ service }: Subjects, { query }: Input): Promise<Reply> {
  await service.checkReady(parseStatusQuery(query))
  return jsonReply({ ready: true })
}
