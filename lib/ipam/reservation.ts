import { formatAddress, parseAddress, type Address } from '../net/address.ts'
import { ParseError } from '../net/parse-error.ts'
import { quoteText } from '../net/quote-text.ts'
import { Fields } from './fields.ts'
import { checkOwner } from './protocol.ts'

/*
 * What goes over ipamd's socket about reservations: GET and POST /v1/reservations, POST /v1/reservations/end. The rules are those
 * of protocol.ts: requests are read strictly, replies leniently.
 */

/** Longest note that is kept with a reservation. */
const MAX_NOTE_LENGTH = 253

/** POST /v1/reservations: sets an address aside. The same owner asking again changes the note. */
export interface ReserveRequest {
  readonly address: Address
  /** As requests for leases name it: "namespace/name" for a pod. */
  readonly owner: string
  /** For people. */
  readonly note?: string | undefined
}

/** An address that only requests of one owner get. */
export interface ReservationReport extends ReserveRequest {
  /** The pool that had the address when it was reserved. */
  readonly pool: string
}

export function parseReserveRequest(value: unknown): ReserveRequest {
  const fields = Fields.of(value, 'request').only(['address', 'owner', 'note'])
  return {
    address: fields.parsed('address', parseAddress),
    owner: fields.parsed('owner', checkOwner),
    note: fields.optionalParsed('note', checkNote),
  }
}

export function reserveRequestToWire({ address, owner, note }: ReserveRequest): object {
  return { address: formatAddress(address), owner, note }
}

/** The address whose reservation POST /v1/reservations/end ends. */
export function parseEndReservationRequest(value: unknown): Address {
  return Fields.of(value, 'request').only(['address']).parsed('address', parseAddress)
}

export function reservationToWire({ address, pool, owner, note }: ReservationReport): object {
  return { address: formatAddress(address), pool, owner, note }
}

export function parseReservation(value: unknown, path = 'reply'): ReservationReport {
  const fields = Fields.of(value, path)
  return {
    address: fields.parsed('address', parseAddress),
    pool: fields.string('pool'),
    owner: fields.string('owner'),
    note: fields.optionalString('note'),
  }
}

/** GET /v1/reservations. */
export function reservationsReplyToWire(reservations: readonly ReservationReport[]): object {
  return { reservations: reservations.map(reservationToWire) }
}

export function parseReservationsReply(value: unknown): readonly ReservationReport[] {
  return Fields.of(value, 'reply').list('reservations', parseReservation)
}

/** True when there was a reservation to end. */
export function parseEndReservationReply(value: unknown): boolean {
  return Fields.of(value, 'reply').boolean('ended')
}

function checkNote(text: string): string {
  if (text.length > MAX_NOTE_LENGTH)
    throw new ParseError(`${quoteText(text)}: want at most ${MAX_NOTE_LENGTH} characters`)
  return text
}
