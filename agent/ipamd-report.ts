import { IpamUnavailable } from '../lib/ipam/errors.ts'
import { PATHS, parsePoolsReply, type FamilyReport, type PoolReport } from '../lib/ipam/protocol.ts'
import { parseServedReply, type FallbackCount } from '../lib/ipam/served.ts'
import { exchange } from '../lib/os/http-over-unix.ts'
import { Deadline } from '../lib/time/deadline.ts'

const ANSWER_TIMEOUT_MS = 5_000

/** What ipamd says of itself, as far as the cluster has to know it. */
export interface IpamdReport {
  readonly pools: readonly PoolReport[]
  /** Calls of the plugin that were done without ipamd. */
  readonly fallbacks: readonly FallbackCount[]
}

/** Asks ipamd for its pools and for calls that went past it. @throws {IpamUnavailable} when it does not answer so. */
export async function readIpamd(socketPath: string): Promise<IpamdReport> {
  const by = Deadline.in(ANSWER_TIMEOUT_MS)
  const { pools } = parsePoolsReply(await get(socketPath, PATHS.pools, by))
  const { fallbacks } = parseServedReply(await get(socketPath, PATHS.served, by))
  return { pools, fallbacks }
}

async function get(socketPath: string, path: string, by: Deadline): Promise<unknown> {
  const { status, body } = await exchange(socketPath, { method: 'GET', path }, by)
  if (status !== 200) throw new IpamUnavailable(socketPath, `GET ${path}: ${status}`)
  return JSON.parse(body)
}

/** The families of pools that have no address left, each as a sentence with its numbers (checklist R32). */
export function exhausted({ pools }: IpamdReport): readonly string[] {
  return pools.flatMap(({ name, families = [] }) => families.filter(hasNone).map(family => sentence(name, family)))
}

// A pool that was given nothing to lease from yet is not exhausted: that it waits is said elsewhere.
function hasNone({ leased, cooling, capacity }: FamilyReport): boolean {
  return capacity > 0n && BigInt(leased) + BigInt(cooling) >= capacity
}

function sentence(pool: string, { family, leased, cooling, capacity }: FamilyReport): string {
  return `pool ${pool} has no free IPv${family} address: ${leased} leased and ${cooling} cooling of ${capacity}`
}

/** Calls that were done without ipamd since `sinceUnixMs`, as one sentence; undefined when there were none. */
export function recentFallbacks({ fallbacks }: IpamdReport, sinceUnixMs: number): string | undefined {
  const recent = fallbacks.filter(({ lastSeenUnixMs }) => lastSeenUnixMs >= sinceUnixMs)
  if (recent.length === 0) return undefined
  const parts = recent.map(({ calls, verb, reason }) => `${calls} ${verb} (${reason})`)
  return `calls of the plugin were done without ipamd, much slower: ${parts.join(', ')}`
}
