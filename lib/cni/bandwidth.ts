import type { Bandwidth, RateLimit } from '../net/bandwidth.ts'
import { isEmpty, member, optionalInteger, optionalSection, pathOf, refusal, rootSection, unsupported } from './json.ts'
import type { NetworkConfiguration } from './configuration.ts'
import type { Section } from './json.ts'

/** Less is no whole byte in a second. */
const MIN_BITS_PER_SECOND = 8

/** Bursts from here on are placeholders for "none was asked for": runtimes pass the largest int32 or uint32 (R37). */
const PLACEHOLDER_BURST_BITS = 2 ** 31 - 1

/** Keys of the reference plugin bandwidth that leave some destinations without a limit. */
const REFUSED_KEYS = ['unshapedSubnets', 'shapedSubnets'] as const

/**
 * Reads how much a pod may send and be sent: the capability "bandwidth" of runtimeConfig (CNI CONVENTIONS.md), or else the same
 * keys of the plugin configuration, as the reference plugin has them: {ingressRate, ingressBurst, egressRate, egressBurst},
 * in bits per second and bits. Ingress is towards the pod.
 *
 * The runtime's word replaces the configuration's as a whole (checklist E8). A rate of 0 is none.
 *
 * @returns Undefined where nothing is limited.
 * @throws {CniError} code 7 with path, value and what is wanted; code 2 for a key that this version does not do.
 */
export function parseBandwidth(net: NetworkConfiguration): Bandwidth | undefined {
  const runtimeConfig = { ...rootSection(net.runtimeConfig), path: 'runtimeConfig' }
  const configured = parseLimits(rootSection(net.raw))
  const asked = optionalSection(runtimeConfig, 'bandwidth')
  return asked === undefined ? configured : parseLimits(asked)
}

function parseLimits(section: Section): Bandwidth | undefined {
  for (const key of REFUSED_KEYS) {
    const value = member(section, key)
    if (value !== undefined && !isEmpty(value)) throw unsupported(pathOf(section, key), value, 'leave it out')
  }
  const toPod = parseLimit(section, { rate: 'ingressRate', burst: 'ingressBurst' })
  const fromPod = parseLimit(section, { rate: 'egressRate', burst: 'egressBurst' })
  if (toPod === undefined && fromPod === undefined) return undefined
  return { ...(toPod === undefined ? {} : { toPod }), ...(fromPod === undefined ? {} : { fromPod }) }
}

interface Keys {
  readonly rate: string
  readonly burst: string
}

function parseLimit(section: Section, keys: Keys): RateLimit | undefined {
  const bitsPerSecond = parseRate(section, keys.rate)
  const burstBits = parseBurst(section, keys.burst)
  if (bitsPerSecond === undefined) return undefined
  return { bitsPerSecond, ...(burstBits === undefined ? {} : { burstBits }) }
}

function parseRate(section: Section, key: string): number | undefined {
  if (member(section, key) === 0) return undefined
  return optionalInteger(section, key, { min: MIN_BITS_PER_SECOND, max: Number.MAX_SAFE_INTEGER })
}

/** Undefined where the burst is ours to choose. */
function parseBurst(section: Section, key: string): number | undefined {
  const value = member(section, key)
  if (value === undefined) return undefined
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) {
    throw refusal(section, key, 'an integer that is not negative, in bits')
  }
  return value === 0 || value >= PLACEHOLDER_BURST_BITS ? undefined : value
}
