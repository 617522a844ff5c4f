import { attachmentOf } from '../../lib/attach/call.ts'
import type { Edges } from '../../lib/attach/edges.ts'
import { isIpamFailure } from '../../lib/attach/ipam-failure.ts'
import { leaseWish } from '../../lib/attach/lease-wish.ts'
import { releaseOrSpool } from '../../lib/attach/release-or-spool.ts'
import { runPlugin, type Outcome, type Run, type VerbInvocation } from '../../lib/attach/plugin-run.ts'
import type { NetworkConfiguration } from '../../lib/cni/configuration.ts'
import { CniError, ErrorCode } from '../../lib/cni/errors.ts'
import type { Invocation } from '../../lib/cni/invocation.ts'
import { renderResult, type Result } from '../../lib/cni/result.ts'
import { resolverSettings } from '../../lib/cni/tulle-configuration.ts'
import { attachmentKeyText } from '../../lib/ipam/attachment.ts'
import { equalAddresses, formatAddress } from '../../lib/net/address.ts'
import type { Deadline } from '../../lib/time/deadline.ts'
import { parseIpamConfiguration, type IpamConfiguration } from './configuration.ts'

/** What this plugin touches outside itself: ipamd, or its spool while it is down. It never sees the kernel. */
export type IpamEdges = Pick<Edges, 'ipam' | 'lock' | 'spoolRelease' | 'nowUnixMs' | 'log'>

type AttachmentInvocation = Extract<Invocation, { command: 'ADD' | 'CHECK' | 'DEL' }>

interface Call {
  readonly network: NetworkConfiguration
  readonly own: IpamConfiguration
  readonly edges: IpamEdges
  readonly by: Deadline
}

/** Below what the plugin that executes this one may take itself. */
const BUDGET_MS = { ADD: 15_000, DEL: 15_000, CHECK: 10_000, GC: 30_000, STATUS: 4_000 } as const

/** Performs one run of the delegated IPAM plugin (SPEC 1.1.0, section 4). Never throws: see runPlugin. */
export function run(input: Run, edges: IpamEdges): Promise<Outcome> {
  return runPlugin(input, {
    about: 'CNI IPAM plugin of Tulle: leases addresses from ipamd',
    budgetMs: BUDGET_MS,
    perform: (invocation, network, by) => perform(invocation, network, { edges, by }),
  })
}

async function perform(
  invocation: VerbInvocation,
  network: NetworkConfiguration,
  { edges, by }: Pick<Call, 'edges' | 'by'>,
): Promise<object | undefined> {
  const { command } = invocation
  // What gives addresses back must not fail on what the configuration says about leasing them (checklist D6).
  const own = parseIpamConfiguration(network, { lenient: command === 'DEL' || command === 'GC' })
  const call: Call = { network, own, edges, by }
  switch (command) {
    case 'ADD':
      return renderResult(await add(call, invocation), network.cniVersion)
    case 'DEL':
      return void (await del(call, invocation))
    case 'CHECK':
      return void (await check(call, invocation))
    case 'GC':
      return void (await gc(call))
    case 'STATUS':
      return void (await status(call))
  }
}

/** Leases an address of each family of the pool. The same attachment gets the same addresses again. */
async function add({ network, own, edges, by }: Call, invocation: AttachmentInvocation): Promise<Result> {
  // Read before anything is leased: what fails here leaves nothing behind.
  const wish = leaseWish({ network, ipam: own, args: invocation.args })
  const dns = resolverSettings(network)
  const attachment = attachmentOf(network, invocation)
  using _lock = await edges.lock(attachment, by)
  const request = { attachment, ...wish, deadlineUnixMs: by.toUnixMs() }
  const { lease, whenDurable } = await edges.ipam(own.socketPath).allocate(request, by)
  await whenDurable()
  return {
    interfaces: [],
    ips: lease.addresses.map(({ address, block, gateway }) => ({
      address: { address, prefixLength: block.prefixLength },
      ...(gateway === undefined ? {} : { gateway }),
    })),
    routes: own.routes,
    dns,
  }
}

/** The plugin that executes this one has removed the interface, or never made it. No lease is success (checklist D1, D2). */
async function del({ network, own, edges, by }: Call, invocation: AttachmentInvocation): Promise<void> {
  const attachment = attachmentOf(network, invocation)
  using _lock = await edges.lock(attachment, by)
  await releaseOrSpool({ attachment, socketPath: own.socketPath }, edges, by)
}

/** @throws {CniError} code 106 when the lease is gone, or has an address that prevResult has not. */
async function check({ network, own, edges, by }: Call, invocation: AttachmentInvocation): Promise<void> {
  if (network.prevResult === undefined)
    throw new CniError(ErrorCode.invalidConfig, 'prevResult is missing: CHECK needs it')
  const attachment = attachmentOf(network, invocation)
  const lease = await edges.ipam(own.socketPath).find(attachment, by)
  if (lease === undefined) {
    throw new CniError(ErrorCode.checkFailed, `ipamd has no lease for ${attachmentKeyText(attachment)}`)
  }
  // prevResult may have more: other plugins of the chain add addresses of their own (checklist K4).
  const { ips } = network.prevResult
  const lacking = lease.addresses.find(({ address }) => !ips.some(ip => equalAddresses(ip.address.address, address)))
  if (lacking === undefined) return
  const address = formatAddress(lacking.address)
  throw new CniError(
    ErrorCode.checkFailed,
    `ipamd has ${address} leased to ${attachmentKeyText(attachment)}, prevResult has not`,
  )
}

/** Without a list of valid attachments nothing is freed (checklist G3). */
async function gc({ network, own, edges, by }: Call): Promise<void> {
  const { name, validAttachments: valid } = network
  if (valid === undefined) return
  await edges.ipam(own.socketPath).collect({ network: name, valid, deadlineUnixMs: by.toUnixMs() }, by)
}

/** @throws {CniError} code 50 with the reason, when an ADD would get no address now (checklist S1–S3). */
async function status({ own, edges, by }: Call): Promise<void> {
  try {
    await edges.ipam(own.socketPath).status(own.pool, by)
  } catch (failure) {
    if (!isIpamFailure(failure)) throw failure
    throw new CniError(ErrorCode.notAvailable, failure.message, { cause: failure })
  }
}
