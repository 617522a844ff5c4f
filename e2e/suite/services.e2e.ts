// Services through kube-proxy, ports of nodes, names: what users reach pods by.
import type { V1Service } from '@kubernetes/client-node'
import t from 'tap'
import { until } from '../cluster/until.ts'
import { httpFromOutside, seenFromOutside } from './harness/outside.ts'
import { HTTP_PORT, UDP_PORT, reverseProxyPod, serverPod } from './harness/pods.ts'
import { setUp } from './harness/setting.ts'
import { ANSWER_SECONDS, familyOf, inUrl, sameFamily, seenOverTcp, seenOverUdp } from './harness/traffic.ts'

const SERVICE_PORT = 80
const HOST_PORT = 18080
/** After this, who has not answered is taken to be silent. */
const SILENT_MS = 5_000

const { kubernetes, provider, nodeNames } = await setUp()
const [firstNode = '', secondNode = ''] = nodeNames
const lastNode = nodeNames.at(-1) ?? ''
const nodes = await provider.nodes()

/** A client on the first node; servers on the first and the last, behind every service here. */
const [client, near, far] = await kubernetes.runPods([
  serverPod({ name: 'client', nodeName: firstNode }),
  serverPod({ name: 'near', nodeName: firstNode, labels: { role: 'server' } }),
  serverPod({ name: 'far', nodeName: lastNode, labels: { role: 'server' } }),
])
if (client === undefined || near === undefined || far === undefined) throw new Error('a pod is missing')
const servers = [near, far]

t.test('a ClusterIP reaches every pod behind it over TCP and UDP, which sees the address of the client', async t => {
  const service = await kubernetes.createService(dualStack('cluster-ip', { type: 'ClusterIP' }))
  for (const address of service.spec?.clusterIPs ?? []) {
    const endpoint = { address, port: SERVICE_PORT }
    await until(`${address} to answer`, async () => seenOverTcp(kubernetes, client.name, endpoint))
    t.equal(
      await seenOverTcp(kubernetes, client.name, endpoint),
      sameFamily(client.addresses, address),
      `TCP ${address}`,
    )
    const over = { address, port: UDP_PORT }
    t.equal(await seenOverUdp(kubernetes, client.name, over), sameFamily(client.addresses, address), `UDP ${address}`)
    const names = await hostnamesBehind(async path =>
      kubernetes.exec(client.name, [
        'curl',
        '-sSf',
        '-g',
        '-m',
        ANSWER_SECONDS,
        `http://${inUrl(address)}:${SERVICE_PORT}${path}`,
      ]),
    )
    t.same(names, ['far', 'near'], `${address} is both pods, on both nodes`)
  }
})

t.test('a pod reaches itself through its own service', async t => {
  const alone = await kubernetes.createService(
    dualStack('hairpin', { type: 'ClusterIP', selector: { app: near.name } }),
  )
  for (const address of alone.spec?.clusterIPs ?? []) {
    const endpoint = { address, port: SERVICE_PORT }
    await until(`${address} to answer`, async () => seenOverTcp(kubernetes, client.name, endpoint))
    t.ok(await seenOverTcp(kubernetes, near.name, endpoint), `${near.name} through ${address}`)
  }
})

t.test('a NodePort with externalTrafficPolicy Cluster works on every node, from outside and from a pod', async t => {
  const service = await kubernetes.createService(dualStack('port-cluster', { type: 'NodePort' }))
  const port = nodePortOf(service)
  for (const node of nodes) {
    for (const address of node.addresses) {
      await until(`${node.name} to answer at ${address}`, async () => seenFromOutside({ address, port }))
      t.same(
        await hostnamesBehind(async path => httpFromOutside({ address, port }, path)),
        ['far', 'near'],
        `${node.name} at ${address} is both pods`,
      )
      t.ok(await seenOverTcp(kubernetes, client.name, { address, port }), `from a pod, ${node.name} at ${address}`)
    }
  }
})

t.test('a NodePort with externalTrafficPolicy Local shows pods the address of the client outside', async t => {
  const service = await kubernetes.createService(
    dualStack('port-local', { type: 'NodePort', externalTrafficPolicy: 'Local' }),
  )
  const port = nodePortOf(service)
  for (const node of nodes) {
    const server = servers.find(({ nodeName }) => nodeName === node.name)
    for (const address of node.addresses) {
      if (server === undefined) {
        await t.rejects(seenFromOutside({ address, port }, SILENT_MS), Error, `${node.name} has no pod of the service`)
        continue
      }
      await until(`${node.name} to answer at ${address}`, async () => seenFromOutside({ address, port }))
      const own = sameFamily(provider.outsideAddresses, address)
      t.equal(await seenFromOutside({ address, port }), own, `source seen on ${node.name} at ${address}`)
      t.equal(await httpFromOutside({ address, port }, '/hostname'), server.name, 'only the pod of that node answers')
    }
  }
})

t.test('the address of a load balancer on a node reaches the pods from outside', async t => {
  await kubernetes.createService(dualStack('balanced', { type: 'LoadBalancer' }))
  // What a load balancer's controller does: it gives the service an address, here of a node, and says so.
  const node = nodes.find(({ name }) => name === secondNode)
  const ingress = (node?.addresses ?? []).map(ip => ({ ip, ipMode: 'VIP' }))
  await kubernetes.core.replaceNamespacedServiceStatus({
    name: 'balanced',
    namespace: kubernetes.namespace,
    body: { metadata: { name: 'balanced' }, status: { loadBalancer: { ingress } } },
  })
  for (const address of node?.addresses ?? []) {
    await until(`${address} to answer`, async () => seenFromOutside({ address, port: SERVICE_PORT }))
    const names = await hostnamesBehind(async path => httpFromOutside({ address, port: SERVICE_PORT }, path))
    t.same(names, ['far', 'near'], `${address} is both pods`)
  }
})

t.test('a hostPort reaches its pod from outside, from other nodes and from pods, and keeps the source', async t => {
  const [pod] = await kubernetes.runPods([serverPod({ name: 'host-port', nodeName: secondNode, hostPort: HOST_PORT })])
  const node = nodes.find(({ name }) => name === secondNode)
  for (const address of node?.addresses ?? []) {
    const endpoint = { address, port: HOST_PORT }
    t.equal(
      await seenFromOutside(endpoint),
      sameFamily(provider.outsideAddresses, address),
      `from outside to ${address}`,
    )
    t.ok(await seenOverTcp(kubernetes, client.name, endpoint), `from a pod of another node to ${address}`)
    t.ok(await seenOverTcp(kubernetes, pod?.name ?? '', endpoint), `from the pod itself to ${address}`)
    const command = [
      'curl',
      '-sSf',
      '-g',
      '-m',
      ANSWER_SECONDS,
      `http://${inUrl(address)}:${HOST_PORT}/hostname`,
    ] as const
    t.equal(await provider.exec(secondNode, command), 'host-port', `from its own node to ${address}`)
    t.equal(await provider.exec(firstNode, command), 'host-port', `from another node to ${address}`)
  }
  await kubernetes.deletePods(['host-port'])
  for (const address of node?.addresses ?? []) {
    await t.rejects(seenFromOutside({ address, port: HOST_PORT }), Error, `nobody listens at ${address} after the pod`)
  }
})

t.test(
  'a reverse proxy in a pod, reached from outside at a port of its node, reaches pods of all nodes by a name',
  async t => {
    const service = await kubernetes.createService(dualStack('behind', { type: 'ClusterIP' }))
    const upstream = `${service.metadata?.name}.${kubernetes.namespace}.svc.cluster.local`
    await kubernetes.runPods([reverseProxyPod({ name: 'proxy', nodeName: secondNode, hostPort: HOST_PORT, upstream })])
    for (const address of nodes.find(({ name }) => name === secondNode)?.addresses ?? []) {
      const endpoint = { address, port: HOST_PORT }
      await until(`the proxy to answer at ${address}`, async () => httpFromOutside(endpoint, '/hostname'))
      t.same(
        await hostnamesBehind(async path => httpFromOutside(endpoint, path)),
        ['far', 'near'],
        `${address} leads to both pods`,
      )
      const forwarded = await httpFromOutside(endpoint, '/header?key=X-Forwarded-For')
      t.equal(forwarded.trim(), sameFamily(provider.outsideAddresses, address), 'the proxy has seen the client outside')
    }
    await kubernetes.deletePods(['proxy'])
  },
)

t.test('names of services and pods resolve through the DNS service in both families', async t => {
  const name = `cluster-ip.${kubernetes.namespace}.svc.cluster.local`
  for (const [type, family] of [
    ['A', 'IPv4'],
    ['AAAA', 'IPv6'],
  ] as const) {
    for (const server of await dnsServers()) {
      const said = await kubernetes.exec(client.name, [
        'dig',
        '+short',
        '+time=2',
        '+tries=3',
        `@${server}`,
        name,
        type,
      ])
      t.equal(familyOf(said.trim()), family, `${type} of ${name} from ${server}: ${said.trim()}`)
    }
  }
  const seen = await kubernetes.exec(client.name, ['curl', '-sSf', '-m', ANSWER_SECONDS, `http://cluster-ip/hostname`])
  t.ok(['near', 'far'].includes(seen), 'a short name, as an application uses it')
})

/** Asks until both servers have answered, at most 60 times: each connection goes to one of them by chance. @returns who did. */
async function hostnamesBehind(ask: (path: string) => Promise<string>): Promise<readonly string[]> {
  const found = new Set<string>()
  for (let asked = 0; asked < 60 && found.size < servers.length; asked++) found.add((await ask('/hostname')).trim())
  return [...found].toSorted()
}

interface ServiceChoice {
  readonly type: 'ClusterIP' | 'NodePort' | 'LoadBalancer'
  readonly externalTrafficPolicy?: 'Local'
  /** Both servers when absent. */
  readonly selector?: Record<string, string>
}

function dualStack(name: string, { selector = { role: 'server' }, ...choice }: ServiceChoice): V1Service {
  return {
    metadata: { name },
    spec: {
      ...choice,
      selector,
      ipFamilyPolicy: 'RequireDualStack',
      ports: [
        { name: 'http', port: SERVICE_PORT, targetPort: HTTP_PORT },
        { name: 'udp', port: UDP_PORT, targetPort: UDP_PORT, protocol: 'UDP' },
      ],
    },
  }
}

function nodePortOf({ spec }: V1Service): number {
  const port = spec?.ports?.[0]?.nodePort
  if (port === undefined) throw new Error('the service has no port on nodes')
  return port
}

async function dnsServers(): Promise<readonly string[]> {
  const { spec } = await kubernetes.core.readNamespacedService({ name: 'kube-dns', namespace: 'kube-system' })
  return spec?.clusterIPs ?? []
}
