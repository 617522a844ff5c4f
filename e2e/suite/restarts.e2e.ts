// What runs on a node dies, the API server is away, and pods come and go all the while.
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { until } from '../cluster/until.ts'
import type { NodeService } from '../cluster/provider.ts'
import { underChurn } from './harness/churn.ts'
import { runningContainers, signalContainer } from './harness/containers.ts'
import { Daemons } from './harness/daemons.ts'
import type { Daemon } from './harness/daemons.ts'
import { leasesOf } from './harness/leases.ts'
import { pingsOf, startPingedServers } from './harness/pings.ts'
import { serverPod } from './harness/pods.ts'
import { setUp } from './harness/setting.ts'
import { API_AWAY_VARIABLE } from './harness/variables.ts'

const API_AWAY_SECONDS = secondsFrom(process.env[API_AWAY_VARIABLE] ?? '20')
/** While the API server is away, each node makes sandboxes of these again and again. */
const PODS_WHILE_AWAY = 3
const RECOVER_MS = 120_000

const { kubernetes, provider, nodeNames } = await setUp()
const [firstNode = ''] = nodeNames
const daemons = new Daemons(provider)
const servers = await startPingedServers(kubernetes, nodeNames)
const addresses = servers.flatMap(server => server.addresses)

for (const victim of ['ipamd', 'agent', 'kubelet', 'containerd'] as const) {
  t.test(
    `${victim} is killed on every node under pod churn: pods start and end, and the others notice nothing`,
    async t => {
      const churn = await underChurn(kubernetes, nodeNames, async () => {
        await Promise.all(nodeNames.map(async nodeName => kill(nodeName, victim)))
      })
      t.comment(`${churn.during} pods came and went until it ran again everywhere`)
      t.equal(churn.afterwards, nodeNames.length, 'every node starts pods afterwards')
      await nothingWasLost(t)
    },
  )
}

t.test(
  `the API server is away for ${API_AWAY_SECONDS} s while sandboxes come and go: pods keep their network`,
  async t => {
    const names = nodeNames.flatMap(nodeName =>
      Array.from({ length: PODS_WHILE_AWAY }, (_, i) => `away-${nodeName}-${i}`),
    )
    await kubernetes.runPods(names.map(name => serverPod({ name, nodeName: nodeOf(name) })))
    const by = performance.now() + API_AWAY_SECONDS * 1000
    await provider.stopApiServer()
    try {
      const made = await Promise.all(nodeNames.map(async nodeName => replaceSandboxes(nodeName, names, by)))
      t.comment(`sandboxes made meanwhile: ${made.join(' ')}`)
      for (const [index, count] of made.entries()) t.ok(count > 0, `${nodeNames[index]} makes sandboxes by itself`)
      await pause(Math.max(0, by - performance.now()))
    } finally {
      await provider.startApiServer()
    }
    await until('the API server to answer', async () => kubernetes.nodes(), RECOVER_MS)
    for (const name of names) await until(`${name} to be reached`, async () => isReached(name), RECOVER_MS)
    const churn = await underChurn(kubernetes, nodeNames, async () => daemons.ready())
    t.equal(churn.afterwards, nodeNames.length, 'every node starts and ends pods afterwards')
    await nothingWasLost(t)
    await kubernetes.deletePods(names)
  },
)

/**
 * Whether a pod answers at the addresses that the API server knows: kubelet tells it those of the newest sandbox by and by.
 *
 * A ping asks the sandbox alone: kubelet starts a container that ended often only after a while.
 */
async function isReached(podName: string): Promise<boolean> {
  const addressesNow = await kubernetes.addressesOf(podName)
  for (const address of addressesNow) {
    await kubernetes.exec(`server-${firstNode}`, ['ping', '-n', '-c', '1', '-W', '1', address])
  }
  return addressesNow.length === 2
}

function secondsFrom(text: string): number {
  const seconds = Number(text)
  if (seconds > 0 && seconds <= 300) return seconds
  throw new RangeError(`${API_AWAY_VARIABLE}=${text}: want a number of seconds, at most 300`)
}

async function kill(nodeName: string, victim: Daemon | NodeService): Promise<void> {
  if (victim === 'ipamd' || victim === 'agent') await daemons.kill(nodeName, victim)
  else await provider.restartService(nodeName, victim)
}

/** Not one packet between pods that live all the while, on one node and across nodes, in both families. */
async function nothingWasLost(t: Test): Promise<void> {
  const pings = await pingsOf(kubernetes, 'pinging')
  t.equal(pings.length, addresses.length)
  for (const { address, sent, answered } of pings) t.equal(answered, sent, `answers from ${address}`)
  const restarted = (await kubernetes.restartsOf(servers.map(({ name }) => name))).filter(count => count > 0)
  t.same(restarted, [], 'no container of theirs was started again')
}

/**
 * Kills the sandbox of one of the node's pods, waits until kubelet has made another and a node reaches it, and so on.
 *
 * @returns how many were made until `by`, on the clock of performance.now().
 */
async function replaceSandboxes(nodeName: string, names: readonly string[], by: number): Promise<number> {
  const own = names.filter(name => nodeOf(name) === nodeName)
  const elsewhere = nodeNames.find(name => name !== nodeName) ?? nodeName
  for (let made = 0; ; made++) {
    const podName = own[made % own.length] ?? ''
    if (performance.now() > by) return made
    const [containerId = ''] = await runningContainers(provider, nodeName, { podName })
    await signalContainer(provider, nodeName, { containerId, signal: 'SIGKILL' })
    const address = await until(`another sandbox of ${podName}`, async () =>
      leasedTo(nodeName, { podName, notTo: containerId }),
    )
    await until(`${address} to answer`, async () =>
      provider.exec(elsewhere, ['ping', '-n', '-c', '1', '-W', '1', address]),
    )
  }
}

/** The address of a pod's lease, as the node itself knows it; undefined while that is the sandbox `notTo`. */
async function leasedTo(
  nodeName: string,
  { podName, notTo }: { readonly podName: string; readonly notTo: string },
): Promise<string | undefined> {
  const leases = await leasesOf(provider, nodeName, `${kubernetes.namespace}/${podName}`)
  return leases.find(({ containerId }) => containerId !== notTo)?.addresses[0]
}

function nodeOf(awayPod: string): string {
  return awayPod.replace(/^away-(.*)-\d+$/, '$1')
}
