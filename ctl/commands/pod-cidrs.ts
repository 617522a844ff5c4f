import { parsePodCidrsReply } from '../../lib/ipam/pod-cidrs.ts'
import { PATHS } from '../../lib/ipam/protocol.ts'
import { formatPrefix } from '../../lib/net/prefix.ts'
import type { Command } from '../command.ts'
import { renderTable, type Cell } from '../table.ts'
import { understood } from '../understood.ts'

export const POD_CIDRS: Command = {
  name: 'pod-cidrs',
  summary: 'list the pod CIDRs that were handed over for this node',
  details: `For a pool with the block source "kubernetes". DRAINING is a block of an earlier pod CIDR: its leases live on, nothing new
comes from it, and it goes when it is empty.`,
  operands: [],
  options: [],
  prepare: () => async ask => {
    const document = await ask.get(PATHS.podCidrs)
    const { pool, podCidrs, draining } = understood(ask, document, parsePodCidrsReply)
    const rows: (readonly Cell[])[] = [
      ...podCidrs.map(prefix => [formatPrefix(prefix), pool, 'in use']),
      ...draining.map(prefix => [formatPrefix(prefix), pool, { text: 'draining', format: 'yellow' as const }]),
    ]
    if (rows.length === 0) return { document, text: () => `nothing was handed over for pool ${pool} yet\n` }
    return { document, text: style => renderTable(HEADER, { rows, style }) }
  },
}

const HEADER = ['POD CIDR', 'POOL', 'STATE']
