import { checkNode, parseEndGrantsReply } from '../../lib/ipam/grants.ts'
import { PATHS } from '../../lib/ipam/protocol.ts'
import { formatPrefix } from '../../lib/net/prefix.ts'
import type { Command } from '../command.ts'
import { parsedArgument } from '../input.ts'
import { understood } from '../understood.ts'

export const END_GRANTS: Command = {
  name: 'end-grants',
  summary: 'take back the blocks that a node was granted, when the node is gone',
  details: `While the node's ipamd runs, other nodes would get its addresses too: it must be gone for good, with its pods.`,
  operands: [{ name: 'NODE' }],
  options: [],
  prepare({ operands }) {
    const node = parsedArgument(operands[0] ?? '', { name: 'NODE', parse: checkNode })
    return async ask => {
      const document = await ask.post(PATHS.endGrants, { node })
      const ended = understood(ask, document, parseEndGrantsReply)
      const what =
        ended.length === 0 ? 'node has no block from here' : `took back ${ended.map(formatPrefix).join(', ')}`
      return { document, text: () => `${what}\n` }
    }
  },
}
