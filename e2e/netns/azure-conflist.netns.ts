import './harness/isolated.ts'
import { mkdtempDisposable } from 'node:fs/promises'
import t from 'tap'
import { addAddresses, connect } from './harness/connect.ts'
import { debianPlugins } from './harness/debian-plugins.ts'
import { type JsonObject, asObjects, asString } from './harness/json.ts'
import { Netns } from './harness/namespace.ts'
import { askTcp, serveTcp } from './harness/reach.ts'
import { CniRuntime, newAttachment } from './harness/runtime.ts'
import { snapshotOf } from './harness/snapshot.ts'
import { BIN_FOLDER, RUN_FOLDER, readConflist, startIpamd } from './harness/tulle.ts'

// The conflist of an AKS node with our types in it, and Debian's reference portmap chained behind: as a user brings it.

/** Where NodeLocal DNS listens on each node: an address of the node itself. */
const LOCAL_SERVICE = { address: '169.254.20.10', port: 53 }
const NODE = '198.51.100.1'
const OUTSIDER = '198.51.100.2'
const HOST_PORT = 8080
const WATCHED = { folders: [RUN_FOLDER, '/var/lib/cni'] }

t.test('the AKS conflist at 0.3.0, with portmap chained', async t => {
  await using folder = await mkdtempDisposable('/run/tulle-azure-')
  const debian = await debianPlugins(folder.path)
  const node = Netns.own()
  await node.run(['ip', 'link', 'set', 'lo', 'up'])
  await addAddresses(node, { ifName: 'lo', addresses: [`${LOCAL_SERVICE.address}/32`] })
  await using outsider = await Netns.create('outsider')
  await connect(
    { netns: node, ifName: 'uplink', addresses: [`${NODE}/24`] },
    { netns: outsider, ifName: 'eth0', addresses: [`${OUTSIDER}/24`] },
  )
  await using ipamd = await startIpamd({ folder: folder.path, prefixes: ['10.244.0.0/16'] })
  await using _service = await serveTcp(node, LOCAL_SERVICE, 'dns')
  const runtime = new CniRuntime({
    conflist: await readConflist('examples/azure.conflist'),
    cniPath: [BIN_FOLDER, ...debian.cniPath],
    env: debian.env,
  })

  // The first pod makes what belongs to the node and stays: forwarding, our table, portmap's own chains.
  await attachAndDetach('the first pod of the node')
  const before = await snapshotOf(node, WATCHED)
  t.notMatch(before, /\btul[a-z2-7]{12}\b/, 'no interface or route of the first pod is there')
  t.notMatch(before, /CNI-DN-/, 'no port mapping of the first pod is there')
  await attachAndDetach('another pod')
  t.equal(await snapshotOf(node, WATCHED), before, 'DEL leaves nothing on the node')
  t.same((await ipamd.get('/v1/leases'))['leases'], [], 'DEL leaves no lease')

  async function attachAndDetach(title: string): Promise<void> {
    await t.test(title, async t => {
      await using pod = await Netns.create('pod', { isLoopbackUp: true })
      const untouched = await snapshotOf(pod)
      const attachment = {
        ...newAttachment(pod),
        args: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web',
        capabilities: { portMappings: [{ hostPort: HOST_PORT, containerPort: 80, protocol: 'tcp' }] },
      }
      const added = await runtime.add(attachment)
      t.equal(added.exitCode, 0, added.stdout)
      t.equal(added.json?.['cniVersion'], '0.3.0', 'A3: the result has the version of the input')
      const address = podAddress(added.json)

      await using _web = await serveTcp(pod, { address: '0.0.0.0', port: 80 }, 'web')
      t.equal(
        await askTcp(outsider, { address: NODE, port: HOST_PORT }),
        `web to ${OUTSIDER}`,
        'the hostPort leads to the pod, which sees who asks',
      )
      t.equal(
        await askTcp(pod, LOCAL_SERVICE),
        `dns to ${address}`,
        'ipsToRouteViaHost: the service on the node answers, and sees the address of the pod',
      )
      const route = await pod.run(['ip', 'route', 'show', 'exact', `${LOCAL_SERVICE.address}/32`])
      t.match(route, /^169\.254\.20\.10 via 169\.254\.1\.1 dev eth0/, 'by a route of its own')

      const deleted = await runtime.del(attachment)
      t.equal(deleted.exitCode, 0, deleted.stdout)
      t.equal((await runtime.del(attachment)).exitCode, 0, 'D1: DEL twice')
      t.equal(await snapshotOf(pod), untouched, 'DEL leaves nothing in the pod')
      t.match(await askTcp(outsider, { address: NODE, port: HOST_PORT }), /^refused: /, 'the hostPort is gone')
    })
  }
})

/** The one address of the result, as at 0.3.0. */
function podAddress(result: JsonObject | undefined): string {
  const [first, ...others] = asObjects(result?.['ips'], 'ips')
  if (first?.['version'] !== '4' || others.length > 0)
    throw new Error(`want one IPv4 address, got ${JSON.stringify(result)}`)
  return asString(first['address'], 'ips[0].address').replace('/32', '')
}
