import { CniError, ErrorCode } from '../cni/errors.ts'
import { parseJsonObject } from '../cni/json.ts'
import { parseIpamResult, type Result } from '../cni/result.ts'
import { supportsVerb } from '../cni/version.ts'
import type { Family } from '../net/address.ts'
import { formatPrefix } from '../net/prefix.ts'
import type { AddressSource, Granted } from './address-source.ts'
import type { Call } from './call.ts'
import type { DelegateCall, Edges } from './edges.ts'

/** Addresses from another IPAM plugin, executed from CNI_PATH with the configuration that we got (SPEC 1.1.0, section 4). */
export function delegateSource(type: string, edges: Edges): AddressSource {
  const request = (call: Call, command: DelegateCall['command']): DelegateCall => ({
    type,
    command,
    cniPath: call.cniPath,
    configuration: JSON.stringify(call.network.raw),
  })
  return {
    isIdempotent: false,

    async allocate(call, by) {
      const stdout = await edges.delegate(request(call, 'ADD'), by)
      return granted(
        parseIpamResult(parseJsonObject(stdout, `the result of IPAM plugin ${type}`), call.network.cniVersion),
        type,
      )
    },

    async release(call, by) {
      await edges.delegate(request(call, 'DEL'), by)
    },

    grantedAtUnixMs: async () => undefined,

    async check(call, _addresses, by) {
      await edges.delegate(request(call, 'CHECK'), by)
      return []
    },

    async collect(call, keep, by) {
      const valid = keep?.map(({ containerId, ifName }) => ({ containerID: containerId, ifname: ifName }))
      const list = valid === undefined ? {} : { 'cni.dev/valid-attachments': valid }
      await edges.delegate(
        { ...request(call, 'GC'), configuration: JSON.stringify({ ...call.network.raw, ...list }) },
        by,
      )
    },

    async status(call, by) {
      if (supportsVerb(call.network.cniVersion, 'STATUS')) await edges.delegate(request(call, 'STATUS'), by)
    },
  }
}

/**
 * What of an IPAM result a pod can have: one address a family, and routes without attributes.
 *
 * The prefix length and the gateway that an IPAM plugin gives are those of a shared link; a routed pod has no such link.
 */
function granted(result: Result, type: string): Granted {
  const addresses = result.ips.map(({ address }) => address.address)
  if (addresses.length === 0) throw unusable(type, 'no address: want one for each family')
  for (const family of [4, 6] satisfies readonly Family[]) {
    const held = addresses.filter(address => address.family === family)
    if (held.length > 1) throw unusable(type, `${held.length} IPv${family} addresses: want at most one for each family`)
  }
  for (const route of result.routes) {
    const attributes = [route.table, route.priority, route.mtuBytes, route.advmss, route.scope]
    if (attributes.some(value => value !== undefined && value !== 0)) {
      throw unusable(type, `a route to ${formatPrefix(route.dst)} with attributes: want dst, and perhaps gw, alone`)
    }
  }
  const destinations = result.routes.map(route => route.dst)
  return {
    addresses,
    onLink: result.ips.map(({ address, gateway }) => ({ address, ...(gateway === undefined ? {} : { gateway }) })),
    routes: result.routes.map(({ dst: to, gw: via }) => ({ to, ...(via === undefined ? {} : { via }) })),
    dns: result.dns,
    isNew: true,
    // It has answered: that is all that there is to know.
    whenDurable: () => Promise.resolve(),
    ...(destinations.length === 0 ? {} : { destinations }),
  }
}

function unusable(type: string, what: string): CniError {
  return new CniError(ErrorCode.ipamFailed, `IPAM plugin ${type} gave ${what}`)
}
