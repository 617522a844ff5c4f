import { parsePoolsReply, PATHS, type PoolReport } from '../../lib/ipam/protocol.ts'
import { formatPrefix } from '../../lib/net/prefix.ts'
import type { Command } from '../command.ts'
import { understood } from '../understood.ts'
import { renderTable, type Cell } from '../table.ts'

export const POOLS: Command = {
  name: 'pools',
  summary: 'list the pools and how full they are',
  details: `A lease has one address of each family, so CAPACITY is that of the smallest family. COOLING counts addresses that were
released too short a time ago to be leased again.`,
  operands: [],
  options: [],
  prepare: () => async ask => {
    const document = await ask.get(PATHS.pools)
    const { pools } = understood(ask, document, parsePoolsReply)
    return { document, text: style => renderTable(HEADER, { rows: pools.map(rowOf), style }) }
  },
}

const HEADER = ['POOL', 'LEASED', 'COOLING', 'CAPACITY', 'USED', 'BLOCKS', 'PREFIXES']

function rowOf(pool: PoolReport): readonly Cell[] {
  const { name, leased, cooling, capacity, blocks, prefixes } = pool
  const counts = [String(leased), String(cooling), capacity.toString(), usedOf(pool), String(blocks.length)]
  return [name, ...counts, prefixes.map(formatPrefix).join(', ')]
}

/** How full the pool is, as a cell that stands out where there is something to do. */
export function usedOf({ leased, capacity }: Pick<PoolReport, 'leased' | 'capacity'>): Cell {
  if (capacity === 0n) return { text: 'no room', format: 'red' }
  const percent = Number((BigInt(leased) * 1000n) / capacity) / 10
  const text = `${percent.toFixed(1)} %`
  if (percent >= 100) return { text, format: 'red' }
  return percent >= 80 ? { text, format: 'yellow' } : text
}
