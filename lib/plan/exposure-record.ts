import { parseAttachmentKey } from '../ipam/attachment.ts'
import { formatAddress, parseAddress } from '../net/address.ts'
import { ParseError } from '../net/parse-error.ts'
import { PROTOCOLS, type PortMapping } from '../net/port-mapping.ts'
import { formatPrefix, parsePrefix } from '../net/prefix.ts'
import type { Exposure } from './exposure.ts'

const FORMAT = 'tulle-exposure/1'

/** Writes `exposure` as the one line of text that is kept of it while the pod lives. */
export function formatExposure(exposure: Exposure): string {
  const { attachment, addresses, ports, isHairpinMasqueraded, masquerade } = exposure
  return `${JSON.stringify({
    format: FORMAT,
    attachment,
    addresses: addresses.map(formatAddress),
    ports: ports.map(({ hostAddress, ...port }) => ({
      ...port,
      ...(hostAddress === undefined ? {} : { hostAddress: formatAddress(hostAddress) }),
    })),
    isHairpinMasqueraded,
    ...(masquerade === undefined ? {} : { masqueradeExcept: masquerade.except.map(formatPrefix) }),
  })}\n`
}

/**
 * Reads what formatExposure() wrote.
 *
 * @throws {ParseError} when it is cut off, of another format, or anything in it is not what it should be.
 */
export function parseExposure(text: string): Exposure {
  const record = objectIn(parseJson(text))
  if (record['format'] !== FORMAT) throw new ParseError(`Cannot read exposure: want format "${FORMAT}"`)
  const { network, containerId, ifName } = objectIn(record['attachment'])
  const except = record['masqueradeExcept']
  return {
    attachment: parseAttachmentKey({
      network: textIn(network),
      containerId: textIn(containerId),
      ifName: textIn(ifName),
    }),
    addresses: listIn(record['addresses']).map(address => parseAddress(textIn(address))),
    ports: listIn(record['ports']).map(parsePort),
    isHairpinMasqueraded: record['isHairpinMasqueraded'] === true,
    ...(except === undefined
      ? {}
      : { masquerade: { except: listIn(except).map(prefix => parsePrefix(textIn(prefix))) } }),
  }
}

function parsePort(value: unknown): PortMapping {
  const { protocol: name, hostPort, containerPort, hostAddress } = objectIn(value)
  const protocol = PROTOCOLS.find(known => known === name)
  if (protocol === undefined) throw new ParseError('Cannot read exposure: want a protocol that has ports')
  return {
    protocol,
    hostPort: portIn(hostPort),
    containerPort: portIn(containerPort),
    ...(hostAddress === undefined ? {} : { hostAddress: parseAddress(textIn(hostAddress)) }),
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch (cause) {
    throw new ParseError('Cannot read exposure: it is no JSON', { cause })
  }
}

function objectIn(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
  throw new ParseError('Cannot read exposure: want an object')
}

function listIn(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value
  throw new ParseError('Cannot read exposure: want a list')
}

function textIn(value: unknown): string {
  if (typeof value === 'string') return value
  throw new ParseError('Cannot read exposure: want a text')
}

function portIn(value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65535) return value
  throw new ParseError('Cannot read exposure: want a port')
}
