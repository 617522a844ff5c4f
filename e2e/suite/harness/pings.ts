import { until } from '../../cluster/until.ts'
import type { Kubernetes, ReadyPod } from './kubernetes.ts'
import { serverPod } from './pods.ts'

const INTERVAL_SECONDS = 0.2
const ANSWERED_MS = 10_000

/** What became of the packets to one address. */
export interface Pings {
  readonly address: string
  readonly sent: number
  readonly answered: number
}

/**
 * Starts a pod that pings every address five times a second for as long as it lives.
 *
 * It needs nobody for that: it goes on while the API server, kubelet and the runtime are away.
 */
export async function startPinging(
  kubernetes: Kubernetes,
  {
    name,
    nodeName,
    addresses,
  }: { readonly name: string; readonly nodeName: string; readonly addresses: readonly string[] },
): Promise<ReadyPod> {
  const pod = serverPod({ name, nodeName, args: ['pause'] })
  const script = `for address; do ping -n -O -i ${INTERVAL_SECONDS} "$address" >"/tmp/$address" & done; wait`
  for (const container of pod.spec?.containers ?? []) {
    container.command = ['bash', '-c', script, 'bash', ...addresses]
    delete container.args
  }
  const [ready] = await kubernetes.runPods([pod])
  if (ready === undefined) throw new Error(`no pod ${name}`)
  return ready
}

/** Starts a server on every node, and the pod `pinging` on the first, which pings them all. @returns the servers. */
export async function startPingedServers(
  kubernetes: Kubernetes,
  nodeNames: readonly string[],
): Promise<readonly ReadyPod[]> {
  const pods = nodeNames.map(nodeName => serverPod({ name: `server-${nodeName}`, nodeName }))
  const servers = await kubernetes.runPods(pods)
  const addresses = servers.flatMap(server => server.addresses)
  await startPinging(kubernetes, { name: 'pinging', nodeName: nodeNames[0] ?? '', addresses })
  return servers
}

/**
 * What became of the packets that a pinging pod sent until now. An answer that came late counts as one.
 *
 * @throws {Error} when an address answers nothing any more: the last packet, or one after it, has to be answered in ten seconds.
 */
export async function pingsOf(kubernetes: Kubernetes, podName: string): Promise<readonly Pings[]> {
  const sent = new Map((await seenBy(kubernetes, podName)).map(({ address, highest }) => [address, highest]))
  return await until(
    'pings to be answered',
    async () => {
      const all = await seenBy(kubernetes, podName)
      const silent = all.filter(({ address, answered }) => Math.max(...answered) < (sent.get(address) ?? 0))
      if (silent.length > 0) throw new Error(`silent: ${silent.map(({ address }) => address).join(' ')}`)
      return all.map(({ address, answered }) => {
        const upTo = sent.get(address) ?? 0
        return { address, sent: upTo, answered: [...answered].filter(sequence => sequence <= upTo).length }
      })
    },
    ANSWERED_MS,
  )
}

interface Seen {
  readonly address: string
  readonly answered: ReadonlySet<number>
  /** The number of the last packet of which ping says anything. */
  readonly highest: number
}

async function seenBy(kubernetes: Kubernetes, podName: string): Promise<readonly Seen[]> {
  const text = await kubernetes.exec(podName, ['bash', '-c', 'cd /tmp && grep -H icmp_seq= *.* *:*'])
  const byAddress = new Map<string, { readonly address: string; readonly answered: Set<number>; highest: number }>()
  for (const line of text.split('\n')) {
    const match = /^(\S+?):(\d+ bytes|no answer).*icmp_seq=(\d+)/.exec(line)
    if (match === null) continue
    const [, address = '', verdict = '', sequence = ''] = match
    const seen = byAddress.get(address) ?? { address, answered: new Set(), highest: 0 }
    byAddress.set(address, seen)
    seen.highest = Math.max(seen.highest, Number(sequence))
    if (verdict !== 'no answer') seen.answered.add(Number(sequence))
  }
  return [...byAddress.values()]
}
