import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { text } from 'node:stream/consumers'
import { parseLeasesReply } from '../../../lib/ipam/protocol.ts'
import type { Lease } from '../../../lib/ipam/lease.ts'
import { unless } from './errno.ts'
import type { TestNode } from './node.ts'
import type { Service } from './service.ts'
import { until } from './until.ts'

const CONFIG_FILE = '/run/tulle-test/ipamd.json'
const SOCKET = '/run/tulle/ipamd.sock'
const REQUEST_MS = 5_000

/** Where ipamd keeps the releases that DEL left while it was down: beside its socket. */
export const SPOOL_DIR = '/run/tulle/spool'

/** The prefixes of the only pool. */
export const POOL_PREFIXES = ['10.244.0.0/16', 'fd00:10:244::/56'] as const

/**
 * Starts ipamd on the node, on the paths that the conflist expects, and waits until it answers.
 *
 * @throws {Error} with its log when it ends or does not answer in time.
 */
export async function startIpamd(node: TestNode, executable: string): Promise<Service> {
  const config = {
    socket: SOCKET,
    stateDir: '/var/lib/tulle',
    node: 'n1',
    pools: [{ name: 'default', prefixes: POOL_PREFIXES }],
  }
  await mkdir(node.pathOf('/run/tulle-test'), { recursive: true })
  await writeFile(node.pathOf(CONFIG_FILE), JSON.stringify(config))
  const service = node.start([executable, '--config', CONFIG_FILE], { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' })
  await until('ipamd to answer', async () => {
    service.throwIfOver()
    // The socket is not there yet, or its file is that of a daemon that was killed.
    return readLeases(node).catch(unless('ENOENT', 'ECONNREFUSED'))
  })
  return service
}

/** All leases that ipamd has (GET /v1/leases). */
export async function readLeases(node: TestNode): Promise<readonly Lease[]> {
  const signal = AbortSignal.timeout(REQUEST_MS)
  const sent = request({ socketPath: node.pathOf(SOCKET), path: '/v1/leases', signal })
  sent.end()
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  const body = await text(response)
  if (response.statusCode !== 200) throw new Error(`GET /v1/leases: ${String(response.statusCode)} ${body}`)
  return parseLeasesReply(JSON.parse(body)).leases
}
