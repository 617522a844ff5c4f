import { parseLeasePage, type LeaseRecord } from '../../lib/ipam/inspection.ts'
import { attachmentKeyText } from '../../lib/ipam/attachment.ts'
import type { PodReference } from '../../lib/ipam/protocol.ts'
import { formatAddress, parseAddress } from '../../lib/net/address.ts'
import type { Command } from '../command.ts'
import { compareAddresses } from '../compare-addresses.ts'
import { parsedOption, textOption } from '../input.ts'
import { formatMoment } from '../moment.ts'
import { parsePodName } from '../pod-name.ts'
import { readLeases } from '../read-leases.ts'
import { renderTable, type Cell } from '../table.ts'

export const LEASES: Command = {
  name: 'leases',
  summary: 'list the leases, in the order of their addresses',
  details: 'With several options: the leases that match all of them.',
  operands: [],
  options: ['pod', 'address', 'pool', 'network'],
  prepare({ options }) {
    const pod = parsedOption(options, { name: 'pod', parse: parsePodName })
    const address = parsedOption(options, { name: 'address', parse: parseAddress })
    const query = {
      podNamespace: pod?.namespace,
      podName: pod?.name,
      address: address === undefined ? undefined : formatAddress(address),
      pool: textOption(options, 'pool'),
      network: textOption(options, 'network'),
    }
    return async ask => {
      const documents = await readLeases(ask, query)
      const { leases } = parseLeasePage({ leases: documents })
      return { document: { leases: documents }, text: style => renderTable(HEADER, { rows: rowsOf(leases), style }) }
    }
  },
}

const HEADER = ['ADDRESSES', 'POD', 'ATTACHMENT', 'POOL', 'LEASED AT']

function rowsOf(leases: readonly LeaseRecord[]): readonly (readonly Cell[])[] {
  return leases
    .toSorted(byFirstAddress)
    .map(lease => [
      lease.addresses.map(({ address }) => formatAddress(address)).join(', '),
      podCell(lease.pod),
      attachmentKeyText(lease.attachment),
      lease.pool,
      formatMoment(lease.leasedAtUnixMs),
    ])
}

function byFirstAddress(a: LeaseRecord, b: LeaseRecord): number {
  const [first] = a.addresses
  const [second] = b.addresses
  // leaseFromWire() refuses a lease without addresses.
  return first === undefined || second === undefined ? 0 : compareAddresses(first.address, second.address)
}

/** The pod as people name it; '-' when nobody told ipamd. */
export function podCell(pod: PodReference | undefined): string {
  return pod === undefined ? '-' : `${pod.namespace}/${pod.name}`
}
