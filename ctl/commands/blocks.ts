import { parseBlocksReply, type BlockReport } from '../../lib/ipam/inspection.ts'
import { PATHS } from '../../lib/ipam/protocol.ts'
import { formatPrefix } from '../../lib/net/prefix.ts'
import type { Command } from '../command.ts'
import { formatMoment } from '../moment.ts'
import { renderTable } from '../table.ts'
import { understood } from '../understood.ts'

export const BLOCKS: Command = {
  name: 'blocks',
  summary: 'list the blocks (pod CIDRs) of this node, and those that it granted to others',
  details: `LEASED counts the addresses of the block that are leased. FREED counts those that were leased once and are not now,
whether or not their cooldown is over. A block that another NODE was granted is counted there.`,
  operands: [],
  options: [],
  prepare: () => async ask => {
    const document = await ask.get(PATHS.blocks)
    const blocks = understood(ask, document, parseBlocksReply)
    return { document, text: style => renderTable(HEADER, { rows: blocks.map(rowOf), style }) }
  },
}

const HEADER = ['BLOCK', 'POOL', 'NODE', 'LEASED', 'FREED', 'TAKEN AT']

function rowOf({ prefix, pool, node, leased, freed, takenAtUnixMs }: BlockReport): readonly string[] {
  const counts = node === undefined ? [String(leased), String(freed)] : ['', '']
  return [formatPrefix(prefix), pool, node ?? '', ...counts, formatMoment(takenAtUnixMs)]
}
