import type { JsonObject, JsonValue } from './json.ts'

/** The keys inside the capabilities whose values are objects, or lists of them (CNI CONVENTIONS.md). */
const KEYS: Readonly<Record<string, readonly string[]>> = {
  bandwidth: ['ingressRate', 'ingressBurst', 'egressRate', 'egressBurst'],
  dns: ['servers', 'searches', 'options'],
  ipRanges: ['subnet', 'rangeStart', 'rangeEnd', 'gateway'],
  portMappings: ['hostPort', 'containerPort', 'protocol', 'hostIP'],
}

/**
 * Returns `runtimeConfig` with the keys inside capabilities as the conventions spell them.
 *
 * containerd sends {"HostPort": 80, "ContainerPort": 80}: its library relies on readers in Go, which do not look at the case
 * (checklist C9). A key that is spelt right wins over one that is not. Everything else is as it was.
 */
export function withConventionalKeys(runtimeConfig: JsonObject): JsonObject {
  const entries = Object.entries(runtimeConfig).map(([capability, value]) => {
    const keys = Object.hasOwn(KEYS, capability) ? KEYS[capability] : undefined
    return [capability, keys === undefined ? value : respelt(value, keys)]
  })
  return Object.fromEntries(entries) as JsonObject
}

function respelt(value: JsonValue, keys: readonly string[]): JsonValue {
  if (Array.isArray(value)) return value.map((each: JsonValue) => respelt(each, keys))
  if (typeof value !== 'object' || value === null) return value
  const object = value as JsonObject
  const entries = Object.entries(object).map(([key, member]) => {
    const conventional = keys.find(each => each.toLowerCase() === key.toLowerCase())
    const isTaken = conventional !== undefined && conventional !== key && Object.hasOwn(object, conventional)
    return [conventional === undefined || isTaken ? key : conventional, member]
  })
  return Object.fromEntries(entries) as JsonObject
}
