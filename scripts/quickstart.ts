/**
 * Shows on one machine what Tulle does: a node (namespaces of our own, which nothing else on the machine can see or disturb),
 * ipamd, two pods attached through the conflist that nodes get, pings between all of them, and everything taken down again.
 *
 * Exits with 0 when every step worked and nothing was left behind. Needs root and a finished build.
 */
import '../e2e/netns/harness/isolated.ts'
import { mkdtempDisposable } from 'node:fs/promises'
import { addAddresses } from '../e2e/netns/harness/connect.ts'
import type { Ipamd } from '../e2e/netns/harness/ipamd.ts'
import { Netns } from '../e2e/netns/harness/namespace.ts'
import { CniRuntime } from '../e2e/netns/harness/runtime.ts'
import { compareSnapshots, takeSnapshot } from '../e2e/netns/harness/snapshot.ts'
import { BIN_FOLDER, RUN_FOLDER, readConflist, startIpamd } from '../e2e/netns/harness/tulle.ts'
import { type Leftovers, sortLeftovers } from './quickstart/leftovers.ts'
import { type Pod, addPod, deletePod, pingBoth } from './quickstart/pods.ts'
import { Report } from './quickstart/report.ts'
import { addressLines, leaseLines, routeLines } from './quickstart/show.ts'

/** Of the ranges that are kept for documentation. */
const NODE_ADDRESSES = { IPv4: '192.0.2.1', IPv6: '2001:db8::1' } as const

const POOL = ['10.244.0.0/16', 'fd00:10:244::/56']

/** What is compared before and after. */
const WATCHED = 'links, addresses, routes, rules, neighbours, nftables, files'

/** Lines of ipamd's log that are shown after a failure. */
const LOG_LINES = 10

const report = new Report(process.stdout)
try {
  await quickstart()
} catch (cause) {
  process.stderr.write(`\nThe quickstart failed: ${cause instanceof Error ? cause.message : String(cause)}\n`)
  process.exitCode = 1
}

async function quickstart(): Promise<void> {
  const startedAtMs = performance.now()
  await using folder = await mkdtempDisposable('/run/tulle-quickstart-')
  const node = Netns.own()

  report.heading('A node, in namespaces of its own')
  await report.step(
    'node',
    () => prepareNode(node),
    () => `${Object.values(NODE_ADDRESSES).join(' and ')} on lo`,
  )
  const watched = { folders: [RUN_FOLDER] }
  const before = await takeSnapshot(node, watched)
  await usePods(node, folder.path)
  const after = await takeSnapshot(node, watched)

  const leftovers = sortLeftovers(compareSnapshots(before, after))
  await report.step(
    'nothing of the pods is left',
    async () => assertNoFaults(leftovers),
    () => WATCHED,
  )
  report.heading('What stays on a node, by design')
  for (const [why, remainders] of Map.groupBy(leftovers.byDesign, remainder => remainder.why)) {
    const entries = remainders.map(({ what }) => what)
    report.listing(why, entries)
  }
  report.conclusion(`All is well, after ${((performance.now() - startedAtMs) / 1000).toFixed(1)} s.`)
}

async function prepareNode(node: Netns): Promise<void> {
  await node.run(['ip', 'link', 'set', 'lo', 'up'])
  await addAddresses(node, { ifName: 'lo', addresses: [`${NODE_ADDRESSES.IPv4}/32`, `${NODE_ADDRESSES.IPv6}/128`] })
}

/** From the start of ipamd to its end. */
async function usePods(node: Netns, folder: string): Promise<void> {
  await using ipamd = await report.step(
    'ipamd',
    () => startIpamd({ folder, prefixes: POOL }),
    started => started.socketPath,
  )
  try {
    await attachAndDetach(node, ipamd)
    await report.step('ipamd stops', () => stop(ipamd))
  } catch (cause) {
    report.listing('the last that ipamd said', ipamd.log.slice(-LOG_LINES))
    throw cause
  }
}

async function attachAndDetach(node: Netns, ipamd: Ipamd): Promise<void> {
  const runtime = new CniRuntime({ conflist: await readConflist('10-tulle.conflist'), cniPath: [BIN_FOLDER] })
  await using netnsA = await Netns.create('pod-a')
  await using netnsB = await Netns.create('pod-b')

  report.heading('Two pods')
  const podA = await report.step('ADD of pod A', () => addPod(runtime, { name: 'pod A', netns: netnsA }), describePod)
  const podB = await report.step('ADD of pod B', () => addPod(runtime, { name: 'pod B', netns: netnsB }), describePod)

  report.heading('They talk')
  const nodeHost = { name: 'node', netns: node, addresses: NODE_ADDRESSES }
  await report.step('pod A → pod B', () => pingBoth(podA, podB), describeTimes)
  await report.step('pod B → pod A', () => pingBoth(podB, podA), describeTimes)
  await report.step('pod A → node', () => pingBoth(podA, nodeHost), describeTimes)
  await report.step('node → pod A', () => pingBoth(nodeHost, podA), describeTimes)

  report.heading('What was made')
  report.listing('addresses in pod A', await addressLines(netnsA))
  report.listing('routes in pod A', await routeLines(netnsA))
  report.listing('routes on the node', await routeLines(node))
  report.listing('leases in ipamd', await leaseLines(ipamd))

  report.heading('Taken down')
  await report.step('DEL of pod A', () => deletePod(runtime, podA), describePluginTime)
  await report.step('DEL of pod B', () => deletePod(runtime, podB), describePluginTime)
  await report.step('no lease is left in ipamd', () => assertNoLease(ipamd))
}

async function assertNoLease(ipamd: Ipamd): Promise<void> {
  const leases = await leaseLines(ipamd)
  if (leases.length > 0) throw new Error(`ipamd still has leases: ${leases.join('; ')}`)
}

async function stop(ipamd: Ipamd): Promise<void> {
  const { exitCode, signal } = await ipamd.stop()
  if (exitCode !== 0) throw new Error(`ipamd ended with ${signal ?? `exit code ${exitCode}`}: want exit code 0`)
}

function assertNoFaults({ faults }: Leftovers): void {
  if (faults.length > 0) throw new Error(`the node is not as it was:\n  ${faults.join('\n  ')}`)
}

function describePod({ addresses, addMs }: Pod): string {
  return `${addresses.IPv4} and ${addresses.IPv6}; ${describePluginTime(addMs)}`
}

function describePluginTime(ms: number): string {
  return `plugin ${ms.toFixed(1)} ms, in all`
}

function describeTimes({ IPv4, IPv6 }: { readonly IPv4: number; readonly IPv6: number }): string {
  return `IPv4 ${IPv4.toFixed(3)} ms, IPv6 ${IPv6.toFixed(3)} ms; in all`
}
