import { attachmentKeyText, parseAttachmentKey, type AttachmentKey } from '../../lib/ipam/attachment.ts'
import { parseLeasePage, type LeaseRecord } from '../../lib/ipam/inspection.ts'
import { parseReleaseReply, PATHS, releaseRequestToWire } from '../../lib/ipam/protocol.ts'
import { formatAddress, parseAddress } from '../../lib/net/address.ts'
import type { Ask } from '../ask.ts'
import type { Command, Report } from '../command.ts'
import { ExitCode } from '../exit-code.ts'
import { parsedArgument } from '../input.ts'
import { readLeases, type LeaseParameters } from '../read-leases.ts'
import { printable } from '../printable.ts'
import { understood } from '../understood.ts'
import { podCell } from './leases.ts'

export const RELEASE: Command = {
  name: 'release',
  summary: 'end a lease by hand, with --force',
  details: `LEASE is one of its addresses, or NETWORK/CONTAINERID/IFNAME. All addresses of the lease are released.

A runtime that deletes a pod has its lease released; this is for a lease that nobody will release any more. While a pod uses
the address, another one would get it too: without --force the command only shows the lease, and fails.`,
  operands: [{ name: 'LEASE' }],
  options: ['force'],
  prepare({ operands, options }) {
    const wanted = parsedArgument(operands[0] ?? '', { name: 'LEASE', parse: parseTarget })
    const isForced = options.force === true
    return async ask => {
      const lease = await findLease(ask, wanted)
      if (lease === undefined)
        return failure({ released: false }, `no lease of ${operands[0] ?? ''}: nothing was released`)
      const what = describe(lease)
      if (!isForced) return failure({ released: false }, `${what}\nnothing was released: --force releases it`)
      const { document, isReleased } = await release(ask, lease)
      if (!isReleased) return failure(document, `${what}\nnothing was released: the lease changed just now`)
      return { document, text: () => `released ${what}\n` }
    }
  },
}

/** An address, or an attachment. @throws {ParseError} */
function parseTarget(text: string): LeaseParameters {
  if (!text.includes('/')) return { address: formatAddress(parseAddress(text)) }
  const [network = '', containerId = '', ...rest] = text.split('/')
  return { ...(parseAttachmentKey({ network, containerId, ifName: rest.join('/') }) satisfies AttachmentKey) }
}

async function findLease(ask: Ask, wanted: LeaseParameters): Promise<LeaseRecord | undefined> {
  return parseLeasePage({ leases: await readLeases(ask, wanted) }).leases[0]
}

async function release(ask: Ask, lease: LeaseRecord): Promise<{ document: object; isReleased: boolean }> {
  // With its addresses: what has been leased anew since we looked is not what was meant.
  const addresses = lease.addresses.map(({ address }) => address)
  const body = releaseRequestToWire({ attachment: lease.attachment, addresses, isForced: true })
  const document = await ask.post(PATHS.release, body)
  return { document, isReleased: understood(ask, document, parseReleaseReply).released }
}

function describe({ addresses, attachment, pod }: LeaseRecord): string {
  const ofPod = pod === undefined ? '' : ` of pod ${printable(podCell(pod))}`
  const list = addresses.map(({ address }) => formatAddress(address)).join(', ')
  return `${list}: lease${ofPod}, attachment ${attachmentKeyText(attachment)}`
}

function failure(document: object, text: string): Report {
  return { document, text: () => `${text}\n`, exitCode: ExitCode.failed }
}
