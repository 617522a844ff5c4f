import { type JsonObject, isObject } from '../e2e/netns/harness/json.ts'

/** An entry of `interfaces`, as it came. */
export interface ResultInterface {
  readonly name: string
  readonly mac?: string
  readonly mtu?: number
  readonly sandbox?: string
}

/** An entry of `ips`, as it came. */
export interface ResultIp {
  readonly address?: unknown
  readonly gateway?: unknown
  readonly interface?: unknown
}

/** The interfaces of a result of 0.3.0 or later; entries that are no objects with a name are left out. */
export function interfacesOf(result: JsonObject): readonly ResultInterface[] {
  return objectsOf(result['interfaces']).flatMap(({ name, mac, mtu, sandbox }) => {
    if (typeof name !== 'string') return []
    return [
      {
        name,
        ...(typeof mac === 'string' ? { mac } : {}),
        ...(typeof mtu === 'number' ? { mtu } : {}),
        ...(typeof sandbox === 'string' ? { sandbox } : {}),
      },
    ]
  })
}

/** The addresses of a result of 0.3.0 or later. */
export function ipsOf(result: JsonObject): readonly ResultIp[] {
  return objectsOf(result['ips'])
}

/** The addresses of a result of any version, in CIDR notation. */
export function addressesOf(result: JsonObject): readonly string[] {
  const old = [result['ip4'], result['ip6']].flatMap(ip => (isObject(ip) ? [ip['ip']] : []))
  const texts = old.length > 0 ? old : ipsOf(result).map(({ address }) => address)
  return texts.filter(text => typeof text === 'string')
}

export function objectsOf(value: unknown): readonly JsonObject[] {
  return Array.isArray(value) ? value.filter(isObject) : []
}
