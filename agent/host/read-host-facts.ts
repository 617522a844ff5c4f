import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { readNftChains } from '../../lib/kernel/node-nftables.ts'
import { Deadline } from '../../lib/time/deadline.ts'
import type { NativeAddon } from '../../native/addon.ts'
import type { HostFacts } from './host-problems.ts'

const LOOK_TIMEOUT_MS = 10_000
const MAX_OUTPUT_BYTES = 8 * 1024 * 1024

/** The files that tell a service to leave our links and routes alone: docs/operations.md has their content. */
export const NETWORK_MANAGER_DROP_IN = 'NetworkManager/conf.d/90-tulle.conf'
export const NETWORKD_DROP_IN = 'systemd/networkd.conf.d/90-tulle.conf'

const run = promisify(execFile)

/**
 * Looks at the node: who listens on Unix sockets in its network namespace, and which chains forwarded packets meet. That
 * iptables-legacy is not there is no failure: what it would tell is not known then.
 *
 * @param etc where the node's /etc is.
 * @throws {KernelError} when the chains cannot be read.
 */
export async function readHostFacts(addon: NativeAddon, etc: string): Promise<HostFacts> {
  const [sockets, nftChains, ...legacy] = await Promise.all([
    readFile('/proc/net/unix', 'utf8'),
    readNftChains(addon, Deadline.in(LOOK_TIMEOUT_MS)),
    outputOf('iptables-legacy', ['-S', 'FORWARD']),
    outputOf('ip6tables-legacy', ['-S', 'FORWARD']),
  ])
  const known = legacy.filter(text => text !== undefined)
  return {
    unixSockets: pathsOf(sockets),
    nftChains,
    legacyForward: known.length === 0 ? undefined : known.join('\n'),
    hasNetworkManagerDropIn: existsSync(join(etc, NETWORK_MANAGER_DROP_IN)),
    hasNetworkdDropIn: existsSync(join(etc, NETWORKD_DROP_IN)),
  }
}

/** The last column of /proc/net/unix; /var/run is a link to /run on every system that has these services. */
function pathsOf(table: string): readonly string[] {
  return table
    .split('\n')
    .map(line => line.slice(line.lastIndexOf(' ') + 1))
    .filter(path => path.startsWith('/'))
    .map(path => path.replace(/^\/var\/run\//, '/run/'))
}

async function outputOf(program: string, args: readonly string[]): Promise<string | undefined> {
  try {
    const { stdout } = await run(program, [...args], { timeout: LOOK_TIMEOUT_MS, maxBuffer: MAX_OUTPUT_BYTES })
    return stdout
  } catch {
    // Not there, not allowed, or no such table: not known.
    return undefined
  }
}
