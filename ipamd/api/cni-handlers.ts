import { IpamProblem } from '../../lib/ipam/errors.ts'
import { parseEmptyQuery } from '../../lib/ipam/inspection.ts'
import { servedReplyToWire } from '../../lib/ipam/served.ts'
import type { Input, Subjects } from './handler.ts'
import { jsonReply, type Reply } from './reply.ts'

/** One run of the CNI plugin, forwarded by its launcher: see docs/adr/0008. */
export async function serveCni({ cni }: Subjects, { body, rawHeaders }: Input): Promise<Reply> {
  if (cni === undefined)
    throw new IpamProblem('declined', 'this daemon does not touch the kernel', { members: { reason: 'blind' } })
  if (!Buffer.isBuffer(body)) throw new TypeError('the body of a run of the plugin is bytes')
  const { stdout, exitCode } = await cni.serve(rawHeaders, body)
  return { kind: 'text', type: 'application/json', text: stdout, headers: { 'tulle-exit-code': String(exitCode) } }
}

/** How many calls there are, how many could not be done here, and what was put right for pods. */
export async function served({ cni, fallbacks, declined, repairs }: Subjects, { query }: Input): Promise<Reply> {
  parseEmptyQuery(query)
  fallbacks.collect()
  const { atWork, waiting } = cni?.load ?? { atWork: 0, waiting: 0 }
  return jsonReply(
    servedReplyToWire({
      atWork,
      waiting,
      fallbacks: fallbacks.read(),
      declined: declined.read(),
      repairs: repairs.read(),
    }),
  )
}
