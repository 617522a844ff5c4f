import { asObjects, asString } from '../../e2e/netns/harness/json.ts'
import type { Netns } from '../../e2e/netns/harness/namespace.ts'
import { ping } from '../../e2e/netns/harness/reach.ts'
import { type CniRuntime, type RuntimeAttachment, newAttachment } from '../../e2e/netns/harness/runtime.ts'

/** One address of each family. */
export interface Addresses {
  readonly IPv4: string
  readonly IPv6: string
}

/** A host in the quickstart: a pod, or the node. */
export interface Host {
  readonly name: string
  readonly netns: Netns
  readonly addresses: Addresses
}

/** A pod that is attached. */
export interface Pod extends Host {
  readonly attachment: RuntimeAttachment
  /** How long the plugin took for ADD. */
  readonly addMs: number
}

/**
 * Runs ADD for a new container in `netns`.
 *
 * @throws {Error} with what the plugin said, when it failed.
 */
export async function addPod(runtime: CniRuntime, { name, netns }: Pick<Host, 'name' | 'netns'>): Promise<Pod> {
  const attachment = newAttachment(netns)
  const added = await runtime.add(attachment)
  if (added.exitCode !== 0) throw new Error(`ADD of ${name}: ${added.stdout || added.stderr}`)
  return { name, netns, attachment, addresses: addressesOf(added.json?.['ips']), addMs: added.wallMs }
}

/**
 * Runs DEL and returns how long the plugin took, in milliseconds.
 *
 * @throws {Error} with what the plugin said, when it failed.
 */
export async function deletePod(runtime: CniRuntime, pod: Pod): Promise<number> {
  const deleted = await runtime.del(pod.attachment)
  if (deleted.exitCode !== 0) throw new Error(`DEL of ${pod.name}: ${deleted.stdout || deleted.stderr}`)
  return deleted.wallMs
}

/**
 * Pings over IPv4 and IPv6, once each, and returns the round-trip times in milliseconds.
 *
 * @throws {Error} naming the address that did not answer.
 */
export async function pingBoth(from: Host, to: Host): Promise<{ readonly IPv4: number; readonly IPv6: number }> {
  return { IPv4: await pingOrThrow(from, to, 'IPv4'), IPv6: await pingOrThrow(from, to, 'IPv6') }
}

async function pingOrThrow(from: Host, to: Host, family: keyof Addresses): Promise<number> {
  const address = to.addresses[family]
  const ms = await ping(from.netns, address)
  if (ms === undefined) throw new Error(`${from.name} gets no answer from ${address} of ${to.name}`)
  return ms
}

/** @throws {Error} unless the result has an address of each family. */
function addressesOf(ips: unknown): Addresses {
  const all = asObjects(ips, 'ips').map(ip => asString(ip['address'], 'address').replace(/\/.*/, ''))
  const [IPv4, IPv6] = [all.find(address => address.includes('.')), all.find(address => address.includes(':'))]
  if (IPv4 === undefined || IPv6 === undefined)
    throw new Error(`want an IPv4 and an IPv6 address, got ${all.join(', ')}`)
  return { IPv4, IPv6 }
}
