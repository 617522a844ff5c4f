import { parsePodCidrsQuery, parsePodCidrsRequest, podCidrsReplyToWire } from '../../lib/ipam/pod-cidrs.ts'
import type { Input, Subjects } from './handler.ts'
import { jsonReply, type Reply } from './reply.ts'

export async function podCidrs({ service }: Subjects, { query }: Input): Promise<Reply> {
  return jsonReply(podCidrsReplyToWire(await service.podCidrs(parsePodCidrsQuery(query))))
}

export async function handOverPodCidrs({ service }: Subjects, { body }: Input): Promise<Reply> {
  return jsonReply(podCidrsReplyToWire(await service.handOverPodCidrs(parsePodCidrsRequest(body))))
}
