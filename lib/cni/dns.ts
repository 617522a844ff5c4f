import { optionalSection, optionalString, optionalStrings } from './json.ts'
import type { JsonObject, Section } from './json.ts'

/** Resolver settings, as text: nobody here interprets them. A member that would be empty is absent. */
export interface Dns {
  readonly nameservers?: readonly string[]
  readonly domain?: string
  readonly search?: readonly string[]
  readonly options?: readonly string[]
}

/** Reads resolver settings from a configuration or a result. Missing means none. @throws {CniError} */
export function parseDns(section: Section | undefined): Dns {
  if (section === undefined) return {}
  return dnsOf({
    nameservers: optionalStrings(section, 'nameservers'),
    domain: optionalString(section, 'domain'),
    search: optionalStrings(section, 'search'),
    options: optionalStrings(section, 'options'),
  })
}

/** Reads the capability "dns" of runtimeConfig, which has its own keys (CNI CONVENTIONS.md). @throws {CniError} */
export function parseDnsCapability(runtimeConfig: Section): Dns {
  const section = optionalSection(runtimeConfig, 'dns')
  if (section === undefined) return {}
  return dnsOf({
    nameservers: optionalStrings(section, 'servers'),
    search: optionalStrings(section, 'searches'),
    options: optionalStrings(section, 'options'),
  })
}

/** Whether nothing is set. */
export function isEmptyDns(dns: Dns): boolean {
  return Object.keys(dnsOf(dns)).length === 0
}

/** Renders resolver settings for a result. */
export function renderDns(dns: Dns): JsonObject {
  return { ...dnsOf(dns) }
}

function dnsOf(dns: { readonly [Key in keyof Dns]: Dns[Key] | undefined }): Dns {
  const { nameservers, domain, search, options } = dns
  return {
    ...(nameservers?.length ? { nameservers } : {}),
    ...(domain ? { domain } : {}),
    ...(search?.length ? { search } : {}),
    ...(options?.length ? { options } : {}),
  }
}
