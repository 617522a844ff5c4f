import { parseEmptyQuery } from '../../lib/ipam/inspection.ts'
import {
  parseEndReservationRequest,
  parseReserveRequest,
  reservationsReplyToWire,
  reservationToWire,
} from '../../lib/ipam/reservation.ts'
import type { Input, Subjects } from './handler.ts'
import { jsonReply, type Reply } from './reply.ts'

export async function reservations({ service }: Subjects, { query }: Input): Promise<Reply> {
  parseEmptyQuery(query)
  return jsonReply(reservationsReplyToWire(await service.reservations()))
}

export async function reserve({ service }: Subjects, { body }: Input): Promise<Reply> {
  return jsonReply(reservationToWire(await service.reserve(parseReserveRequest(body))))
}

export async function endReservation({ service }: Subjects, { body }: Input): Promise<Reply> {
  return jsonReply({ ended: await service.unreserve(parseEndReservationRequest(body)) })
}
