import t from 'tap'
import { attachmentKeyText, type AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { Lease } from '../../lib/ipam/lease.ts'
import type { FindingKind } from '../../lib/ipam/reconcile.ts'
import { formatAddress, parseAddress } from '../../lib/net/address.ts'
import { hostPrefix, parsePrefix } from '../../lib/net/prefix.ts'
import { hostIfNameOf } from '../../lib/plan/link-names.ts'
import { LINK_GROUP } from '../../lib/plan/marks.ts'
import type { ObservedLink, OwnRoute } from '../../lib/plan/observed.ts'
import { formatOwner } from '../../lib/plan/owner.ts'
import { compareSides } from './compare.ts'

const BLOCK = parsePrefix('10.0.0.0/24')
const A = { network: 'pods', containerId: 'a', ifName: 'eth0' }
const B = { network: 'pods', containerId: 'b', ifName: 'eth0' }
const REFUSAL: OwnRoute = { to: BLOCK }

function leaseOf(attachment: AttachmentKey, address: string): Lease {
  const addresses = [{ address: parseAddress(address), block: BLOCK }]
  return { attachment, pool: 'p', addresses, leasedAtUnixMs: 0 }
}

function linkOf(attachment: AttachmentKey, { index = 5, isComplete = true } = {}): ObservedLink {
  const alias = formatOwner({ attachment, isComplete })
  return {
    index,
    name: hostIfNameOf(attachment),
    alias,
    group: LINK_GROUP,
    mtuBytes: 1500,
    isUp: true,
    hasNoLinkLocal: true,
  }
}

function routeTo(address: string, linkIndex = 5): OwnRoute {
  return { to: hostPrefix(parseAddress(address)), linkIndex }
}

function withoutAlias({ alias: _alias, ...link }: ObservedLink): ObservedLink {
  return link
}

interface Row {
  readonly name: string
  readonly leases?: readonly Lease[]
  readonly links?: readonly ObservedLink[]
  readonly routes?: readonly OwnRoute[]
  readonly want: readonly FindingKind[]
}

const TABLE: readonly Row[] = [
  {
    name: 'nothing in a node that agrees',
    leases: [leaseOf(A, '10.0.0.7')],
    links: [linkOf(A)],
    routes: [routeTo('10.0.0.7'), REFUSAL],
    want: [],
  },
  {
    name: 'a finished interface without a lease',
    links: [linkOf(A)],
    routes: [routeTo('10.0.0.7'), REFUSAL],
    want: ['link-without-lease', 'route-without-lease'],
  },
  {
    name: 'nothing about an interface with addresses of another IPAM plugin',
    links: [linkOf(A)],
    routes: [routeTo('192.0.2.7'), REFUSAL],
    want: [],
  },
  {
    name: 'an unfinished interface',
    links: [linkOf(A, { isComplete: false })],
    routes: [REFUSAL],
    want: ['link-unfinished'],
  },
  {
    name: 'an interface without an alias',
    links: [withoutAlias(linkOf(A))],
    routes: [REFUSAL],
    want: ['link-unfinished'],
  },
  {
    name: 'an alias that cannot be read',
    links: [{ ...linkOf(A), alias: 'edited' }],
    routes: [REFUSAL],
    want: ['link-owner-unreadable'],
  },
  {
    name: 'a lease whose route was flushed',
    leases: [leaseOf(A, '10.0.0.7')],
    links: [linkOf(A)],
    routes: [REFUSAL],
    want: ['lease-without-route'],
  },
  {
    name: 'a route to a leased address through another interface',
    leases: [leaseOf(A, '10.0.0.7'), leaseOf(B, '10.0.0.8')],
    links: [linkOf(A), linkOf(B, { index: 6 })],
    routes: [routeTo('10.0.0.7'), routeTo('10.0.0.8'), REFUSAL],
    want: ['route-differs'],
  },
  { name: 'a block whose refusal was flushed (R18, R29)', routes: [], want: ['block-without-route'] },
  {
    name: 'a refusal for what is no block',
    routes: [REFUSAL, { to: parsePrefix('10.9.0.0/24') }],
    want: ['route-without-block'],
  },
]

for (const { name, leases = [], links = [], routes = [], want } of TABLE) {
  t.test(`compareSides() reports ${name}`, async t => {
    const findings = compareSides({
      leaseOf: attachment => leases.find(each => attachmentKeyText(each.attachment) === attachmentKeyText(attachment)),
      holderOf: address =>
        leases.find(each => each.addresses.some(held => formatAddress(held.address) === formatAddress(address)))
          ?.attachment,
      blocks: [BLOCK],
      links,
      routes,
    })
    t.strictSame(
      findings.map(({ kind }) => kind),
      want,
      JSON.stringify(findings.map(({ detail }) => detail)),
    )
  })
}
