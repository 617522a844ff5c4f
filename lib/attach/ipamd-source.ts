import type { TulleIpam } from '../cni/tulle-configuration.ts'
import { IpamUnavailable } from '../ipam/errors.ts'
import { equalAddresses, formatAddress } from '../net/address.ts'
import type { AddressSource } from './address-source.ts'
import type { Edges } from './edges.ts'
import { releaseOrSpool } from './release-or-spool.ts'

/** Addresses from ipamd, over its Unix socket. */
export function ipamdSource({ socketPath, pool }: TulleIpam, edges: Edges): AddressSource {
  const ipam = edges.ipam(socketPath)
  let wasNeverAsked = false
  return {
    isIdempotent: true,

    async allocate({ attachment, wish }, by) {
      try {
        const { lease, isNew, whenDurable } = await ipam.allocate(
          { attachment, ...wish, deadlineUnixMs: by.toUnixMs() },
          by,
        )
        return {
          addresses: lease.addresses.map(({ address }) => address),
          onLink: lease.addresses.map(({ address, block, gateway }) => ({
            address: { address, prefixLength: block.prefixLength },
            ...(gateway === undefined ? {} : { gateway }),
          })),
          routes: [],
          dns: {},
          isNew,
          whenDurable,
        }
      } catch (failure) {
        wasNeverAsked = failure instanceof IpamUnavailable && failure.wasNeverAsked
        throw failure
      }
    },

    async release({ attachment }, by) {
      // A daemon that nobody reached has leased nothing: each retry of the runtime would leave an entry in the spool.
      if (wasNeverAsked) return
      await releaseOrSpool({ attachment, socketPath }, edges, by)
    },

    async grantedAtUnixMs({ attachment }, by) {
      return (await ipam.find(attachment, by))?.leasedAtUnixMs
    },

    async check({ attachment }, addresses, by) {
      const lease = await ipam.find(attachment, by)
      if (lease === undefined) return [`ipamd has no lease for ${attachment.containerId}/${attachment.ifName}`]
      return addresses
        .filter(address => !lease.addresses.some(leased => equalAddresses(leased.address, address)))
        .map(
          address =>
            `ipamd does not have ${formatAddress(address)} leased to ${attachment.containerId}/${attachment.ifName}`,
        )
    },

    async collect({ network }, keep, by) {
      if (keep !== undefined)
        await ipam.collect({ network: network.name, valid: keep, deadlineUnixMs: by.toUnixMs() }, by)
    },

    status: (_call, by) => ipam.status(pool, by),
  }
}
