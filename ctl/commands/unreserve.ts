import { PATHS } from '../../lib/ipam/protocol.ts'
import { parseEndReservationReply } from '../../lib/ipam/reservation.ts'
import { formatAddress, parseAddress } from '../../lib/net/address.ts'
import type { Command } from '../command.ts'
import { ExitCode } from '../exit-code.ts'
import { parsedArgument } from '../input.ts'
import { understood } from '../understood.ts'

export const UNRESERVE: Command = {
  name: 'unreserve',
  summary: 'end the reservation of an address; a lease of it stays',
  operands: [{ name: 'ADDRESS' }],
  options: [],
  prepare({ operands }) {
    const address = formatAddress(parsedArgument(operands[0] ?? '', { name: 'ADDRESS', parse: parseAddress }))
    return async ask => {
      const document = await ask.post(PATHS.endReservation, { address })
      if (understood(ask, document, parseEndReservationReply)) {
        return { document, text: () => `${address} is not reserved any more\n` }
      }
      return { document, text: () => `${address} was not reserved\n`, exitCode: ExitCode.failed }
    }
  },
}
