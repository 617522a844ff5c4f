import type { ClusterProvider } from '../../cluster/provider.ts'

/** A lease, as tullectl of its node tells it. */
export interface NodeLease {
  readonly containerId: string
  readonly addresses: readonly string[]
  readonly leasedAtUnixMs: number
}

interface LeaseDocument {
  readonly attachment: { readonly containerId: string }
  readonly addresses: readonly { readonly address: string }[]
  readonly leasedAtUnixMs: number
}

/** The leases of a node: it knows them without an API server. @param pod `namespace/name`; all pods when absent. */
export async function leasesOf(
  provider: ClusterProvider,
  nodeName: string,
  pod?: string,
): Promise<readonly NodeLease[]> {
  const filter = pod === undefined ? [] : ['--pod', pod]
  const command = ['/opt/cni/bin/tullectl', 'leases', ...filter, '--output', 'json'] as const
  const { leases } = JSON.parse(await provider.exec(nodeName, command)) as { readonly leases: readonly LeaseDocument[] }
  return leases.map(({ attachment, addresses, leasedAtUnixMs }) => ({
    containerId: attachment.containerId,
    addresses: addresses.map(({ address }) => address),
    leasedAtUnixMs,
  }))
}
