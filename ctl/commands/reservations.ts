import { PATHS } from '../../lib/ipam/protocol.ts'
import { parseReservationsReply, type ReservationReport } from '../../lib/ipam/reservation.ts'
import { formatAddress } from '../../lib/net/address.ts'
import type { Command } from '../command.ts'
import { compareAddresses } from '../compare-addresses.ts'
import { renderTable } from '../table.ts'
import { understood } from '../understood.ts'

export const RESERVATIONS: Command = {
  name: 'reservations',
  summary: 'list the addresses that are set aside for an owner',
  operands: [],
  options: [],
  prepare: () => async ask => {
    const document = await ask.get(PATHS.reservations)
    const reservations = understood(ask, document, parseReservationsReply)
    const rows = reservations.toSorted((a, b) => compareAddresses(a.address, b.address)).map(rowOf)
    return { document, text: style => renderTable(HEADER, { rows, style }) }
  },
}

const HEADER = ['ADDRESS', 'OWNER', 'POOL', 'NOTE']

function rowOf({ address, owner, pool, note }: ReservationReport): readonly string[] {
  return [formatAddress(address), owner, pool, note ?? '']
}
