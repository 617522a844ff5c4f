import { grantReplyToWire, parseEndGrantsRequest, parseGrantRequest } from '../../lib/ipam/grants.ts'
import { formatPrefix } from '../../lib/net/prefix.ts'
import type { Input, Subjects } from './handler.ts'
import { jsonReply, type Reply } from './reply.ts'

export async function grant({ service }: Subjects, { body }: Input): Promise<Reply> {
  return jsonReply(grantReplyToWire(await service.grant(parseGrantRequest(body))))
}

export async function endGrants({ service }: Subjects, { body }: Input): Promise<Reply> {
  const ended = await service.endGrants(parseEndGrantsRequest(body))
  return jsonReply({ ended: ended.map(formatPrefix) })
}
