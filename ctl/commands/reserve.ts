import { checkOwner, PATHS } from '../../lib/ipam/protocol.ts'
import { parseReservation, reserveRequestToWire } from '../../lib/ipam/reservation.ts'
import { formatAddress, parseAddress } from '../../lib/net/address.ts'
import type { Command } from '../command.ts'
import { parsedArgument, textOption } from '../input.ts'
import { printable } from '../printable.ts'
import { understood } from '../understood.ts'

export const RESERVE: Command = {
  name: 'reserve',
  summary: 'set an address aside: only requests of the owner get it',
  details: `OWNER is NAMESPACE/NAME for a pod. Who holds the address keeps it until the lease ends. The same owner reserving again
changes the note.`,
  operands: [{ name: 'ADDRESS' }, { name: 'OWNER' }],
  options: ['note'],
  prepare({ operands, options }) {
    const address = parsedArgument(operands[0] ?? '', { name: 'ADDRESS', parse: parseAddress })
    const owner = parsedArgument(operands[1] ?? '', { name: 'OWNER', parse: checkOwner })
    const body = reserveRequestToWire({ address, owner, note: textOption(options, 'note') })
    return async ask => {
      const document = await ask.post(PATHS.reservations, body)
      const reserved = understood(ask, document, parseReservation)
      const what = `${formatAddress(reserved.address)} of pool ${reserved.pool} for ${reserved.owner}`
      return { document, text: () => `reserved ${printable(what)}\n` }
    }
  },
}
