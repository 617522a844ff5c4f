import type { NetworkConfiguration } from '../../lib/cni/configuration.ts'
import { CniError, ErrorCode } from '../../lib/cni/errors.ts'
import { readResult, type ResultRoute } from '../../lib/cni/result.ts'
import { OWN_IPAM_TYPE, parseTulleConfiguration, type TulleIpam } from '../../lib/cni/tulle-configuration.ts'

/** The `ipam` section: all that this plugin looks at. */
export interface IpamConfiguration extends Omit<TulleIpam, 'kind'> {
  /** As in host-local: the result has exactly the routes that are configured. Missing means none. */
  readonly routes: readonly ResultRoute[]
}

/**
 * Reads the `ipam` section. Everything outside it belongs to the plugin that delegates to this one.
 *
 * With `lenient` nothing is refused, and a value that cannot be used counts as missing (checklist D6).
 *
 * @throws {CniError} code 7 for a value that is wrong.
 */
export function parseIpamConfiguration(
  network: NetworkConfiguration,
  { lenient }: { readonly lenient: boolean },
): IpamConfiguration {
  // What the capabilities ask of the IPAM plugin is read with the lease (leaseWish); the others are for the interface plugin.
  const section = { ...network, raw: {}, runtimeConfig: {} }
  const { ipam } = parseTulleConfiguration(section, { lenient })
  if (ipam.kind !== 'tulle') {
    throw new CniError(ErrorCode.invalidConfig, `Cannot use ipam.type "${ipam.type}": want "${OWN_IPAM_TYPE}"`)
  }
  const { kind: _kind, ...own } = ipam
  return { ...own, routes: lenient ? [] : parseRoutes(network) }
}

function parseRoutes({ ipam }: NetworkConfiguration): readonly ResultRoute[] {
  const routes = ipam?.raw['routes'] ?? null
  return readResult({ object: { routes }, path: 'ipam', code: ErrorCode.invalidConfig }, '1.1.0').routes
}
