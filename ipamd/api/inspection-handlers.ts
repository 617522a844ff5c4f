import {
  blocksReplyToWire,
  historyReplyToWire,
  leasePageToWire,
  parseEmptyQuery,
  parseEventsQuery,
  parseHistoryQuery,
  parseLeaseQuery,
} from '../../lib/ipam/inspection.ts'
import { parsedAt } from '../../lib/ipam/fields.ts'
import { poolsReplyToWire } from '../../lib/ipam/protocol.ts'
import { parseWholeNumber } from '../../lib/ipam/query.ts'
import { eventRange, findTenures } from '../store/history.ts'
import { EXPOSITION_MEDIA_TYPE, renderMetrics } from '../../lib/metrics/exposition.ts'
import type { Input, Subjects } from './handler.ts'
import { observedMetrics } from './metrics.ts'
import document from './openapi.json' with { type: 'json' }
import { jsonReply, type Reply } from './reply.ts'

export async function leases({ reader }: Subjects, { query }: Input): Promise<Reply> {
  return jsonReply(leasePageToWire(reader.leases(parseLeaseQuery(query))))
}

export async function pools({ service }: Subjects, { query }: Input): Promise<Reply> {
  parseEmptyQuery(query)
  return jsonReply(poolsReplyToWire({ pools: await service.pools() }))
}

export async function blocks({ reader }: Subjects, { query }: Input): Promise<Reply> {
  parseEmptyQuery(query)
  return jsonReply(blocksReplyToWire(reader.blocks()))
}

export async function history({ reader }: Subjects, { query }: Input): Promise<Reply> {
  return jsonReply(historyReplyToWire(findTenures(reader, parseHistoryQuery(query))))
}

export async function events({ streams }: Subjects, { query, headers }: Input): Promise<Reply> {
  const since = parseEventsQuery(query)
  const lastSeen = headers['last-event-id']
  // A reader that comes back sends its old query again: what it has seen since is in the header.
  const after = lastSeen === undefined ? since : parsedAt(lastSeen, 'header Last-Event-ID', parseWholeNumber)
  return { kind: 'stream', writeTo: streams.open(after) }
}

export async function metrics(subjects: Subjects): Promise<Reply> {
  const { service, reader, metrics, streams, condition, fallbacks } = subjects
  fallbacks.collect()
  const observed = observedMetrics({
    pools: await service.pools(),
    spool: condition.spool(),
    storeBytes: condition.storeBytes(),
    newestEventId: eventRange(reader).newest,
    streams: streams.count,
  })
  return { kind: 'text', type: EXPOSITION_MEDIA_TYPE, text: renderMetrics([...metrics.read(), ...observed]) }
}

export async function openapi(): Promise<Reply> {
  return jsonReply(document)
}

/** The process lives; whether it can work is asked of readiness(). */
export async function health(): Promise<Reply> {
  return jsonReply({ status: 'ok' })
}

export async function readiness({ condition }: Subjects): Promise<Reply> {
  condition.checkReady()
  return jsonReply({ ready: true })
}
