import { asObjects } from '../../e2e/netns/harness/json.ts'
import { familyOf, routeName } from '../address.ts'
import { type Check, NotApplicable, SPEC, Unmet } from '../check.ts'
import { type Link, isGiven, linksOf, routesOf } from '../kernel.ts'
import { describeOutcome } from '../outcome.ts'
import { interfacesOf } from '../result.ts'
import { type AddedPod, type Stage, isInterfaceOf } from '../stage.ts'
import type { Family } from '../subject.ts'

const MISSING = `${SPEC.check}: "should return an error if a resource included in the CNI Result type was created by the plugin, and is listed in prevResult, but is missing or in an invalid state"`
const UNREACHABLE = `${SPEC.check}: "should return an error if it is aware of a condition where the container is generally unreachable"`
const UNTRACKED = `${SPEC.check}: "should return an error if other resources not tracked in the Result type [...] are missing or are in an invalid state"`

/** CHECK with each thing broken that ADD made, one at a time (SPEC 1.1.0, section 2). */
export const brokenChecks: readonly Check[] = [
  {
    id: 'K2.netns-gone',
    basis: 'should',
    source: MISSING,
    expected: 'CHECK fails when the namespace is gone.',
    needs: ['CHECK', 'interface'],
    leftoversAskedBy: 'D4.netns-gone',
    async run(stage) {
      const pod = await stage.added()
      await stage.deleteNetns(pod)
      stage.expectFailure(await stage.runtime.check(pod.attachment, pod.result))
    },
  },
  broken('K2.interface-gone', MISSING, 'the interface is gone', async (stage, pod) => {
    await stage.run(pod.netns, ['ip', 'link', 'delete', stage.ifName])
  }),
  broken('K2.interface-down', UNREACHABLE, 'the interface is down', async (stage, pod) => {
    await stage.run(pod.netns, ['ip', 'link', 'set', stage.ifName, 'down'])
  }),
  broken('K2.mac', MISSING, 'the interface has another hardware address than the result says', async (stage, pod) => {
    if (interfacesOf(pod.result).find(entry => isInterfaceOf(entry, pod))?.mac === undefined)
      throw new NotApplicable('the result has no mac')
    // A macvlan takes no other address while it is up in some modes; a veth does not mind.
    await stage.run(pod.netns, ['ip', 'link', 'set', stage.ifName, 'address', '02:00:5e:00:53:99'])
  }),
  broken('K2.mtu', MISSING, 'the interface has another MTU than the result says', async (stage, pod) => {
    if (interfacesOf(pod.result).find(entry => isInterfaceOf(entry, pod))?.mtu === undefined)
      throw new NotApplicable('the result has no mtu')
    await stage.run(pod.netns, ['ip', 'link', 'set', stage.ifName, 'mtu', '1290'])
  }),
  ...(['ipv4', 'ipv6'] as const).flatMap(family => [
    broken(`K2.address-gone-${family}`, MISSING, `the ${family} address is gone`, async (stage, pod) => {
      const address = await addressOf(stage, pod, family)
      if (address === undefined) throw new NotApplicable(`the pod has no ${family} address`)
      await stage.run(pod.netns, ['ip', 'address', 'delete', address, 'dev', stage.ifName])
    }),
    broken(`K2.address-other-${family}`, MISSING, `the ${family} address is another one`, async (stage, pod) => {
      const address = await addressOf(stage, pod, family)
      if (address === undefined) throw new NotApplicable(`the pod has no ${family} address`)
      await stage.run(pod.netns, [
        'ip',
        'address',
        'add',
        family === 'ipv4' ? '198.51.100.9/24' : '2001:db8:99::9/64',
        'dev',
        stage.ifName,
      ])
      await stage.run(pod.netns, ['ip', 'address', 'delete', address, 'dev', stage.ifName])
    }),
    broken(`K2.route-gone-${family}`, MISSING, `a ${family} route of the result is gone`, async (stage, pod) => {
      const routes = asObjects(pod.result['routes'] ?? [], 'routes').map(({ dst }) => dst)
      const dst = routes.find(text => familyOf(String(text)) === family)
      const name = routeName(dst)
      if (name === undefined) throw new NotApplicable(`the result has no ${family} route`)
      await stage.run(pod.netns, ['ip', family === 'ipv4' ? '-4' : '-6', 'route', 'delete', name])
    }),
    broken(
      `K3.host-route-gone-${family}`,
      UNTRACKED,
      `the node's ${family} route to the pod is gone`,
      async (stage, pod) => {
        const host = await hostEndOf(stage, pod)
        const routes =
          host === undefined
            ? []
            : (await routesOf(stage.node.netns)).filter(
                route => route.dev === host.name && route.family === family && !route.dst.startsWith('fe80:'),
              )
        const [route] = routes
        if (route === undefined)
          throw new NotApplicable(`the node has no ${family} route through the pod's own interface`)
        await stage.run(stage.node.netns, [
          'ip',
          family === 'ipv4' ? '-4' : '-6',
          'route',
          'delete',
          route.dst,
          'dev',
          route.dev ?? '',
        ])
      },
    ),
  ]),
  broken('K3.host-down', UNREACHABLE, "the host's end of the interface is down", async (stage, pod) => {
    const host = await hostEndOf(stage, pod)
    if (host === undefined) throw new NotApplicable('the interface has no other end on the host')
    await stage.run(stage.node.netns, ['ip', 'link', 'set', host.name, 'down'])
  }),
  broken('K3.host-detached', UNREACHABLE, "the host's end is no port of its bridge any more", async (stage, pod) => {
    const host = await hostEndOf(stage, pod)
    if (host?.master === undefined) throw new NotApplicable('there is no bridge')
    await stage.run(stage.node.netns, ['ip', 'link', 'set', host.name, 'nomaster'])
  }),
  broken('K3.bridge-down', UNREACHABLE, 'the bridge is down', async (stage, pod) => {
    const host = await hostEndOf(stage, pod)
    if (host?.master === undefined) throw new NotApplicable('there is no bridge')
    stage.isNodeSpent = true
    await stage.run(stage.node.netns, ['ip', 'link', 'set', host.master, 'down'])
  }),
  broken(
    'K3.firewall-gone',
    `${SPEC.check}: "should return an error if other resources [...] are missing": "Firewall rules"`,
    'the firewall rules that ADD made are gone',
    async (stage, pod) => {
      // What ADD has made for this pod is what mentions one of its addresses or interfaces.
      const host = await hostEndOf(stage, pod)
      const words = [
        host?.name,
        ...(await Promise.all((['ipv4', 'ipv6'] as const).map(family => addressOf(stage, pod, family)))),
      ]
      const names = words.flatMap(word => (word === undefined ? [] : [word.replace(/\/.*/, '')]))
      const rules = await stage.run(stage.node.netns, ['nft', '--stateless', 'list', 'ruleset'])
      if (!names.some(name => rules.includes(name))) throw new NotApplicable('ADD makes no firewall rules for a pod')
      stage.isNodeSpent = true
      await stage.run(stage.node.netns, ['nft', 'flush', 'ruleset'])
    },
  ),
]

/** Breaks something. @returns why this plugin has nothing of the kind. @throws {Unmet} when the kernel refuses. */
type Breakage = (stage: Stage, pod: AddedPod) => Promise<void>

function broken(id: Check['id'], source: string, what: string, breakIt: Breakage): Check {
  return {
    id,
    // A plugin that is not aware of such a condition breaks no rule.
    basis: source === UNREACHABLE ? 'our-reading' : 'should',
    source,
    expected: `CHECK fails when ${what}.`,
    needs: ['CHECK', 'interface'],
    ...(id === 'K2.interface-gone' ? { leftoversAskedBy: 'D4.interface-gone' as const } : {}),
    async run(stage) {
      const pod = await stage.added()
      const healthy = await stage.runtime.check(pod.attachment, pod.result)
      if (!healthy.isSuccess) throw new Unmet(`before anything was broken: ${describeOutcome(healthy.decisive)}`)
      const reason = await breakIt(stage, pod)
      if (reason !== undefined) return reason
      stage.expectFailure(await stage.runtime.check(pod.attachment, pod.result), what)
    },
  }
}

/** An address of the pod's interface, in CIDR notation. */
async function addressOf(stage: Stage, pod: AddedPod, family: Family): Promise<string | undefined> {
  const link = (await linksOf(pod.netns)).find(({ name }) => name === stage.ifName)
  const found = link?.addresses.filter(isGiven).find(({ address }) => familyOf(address) === family)
  return found && `${found.address}/${found.prefixLength}`
}

/** The host's end of the pod's veth; `undefined` when the interface is no veth with its other end on the node. */
async function hostEndOf(stage: Stage, pod: AddedPod): Promise<Link | undefined> {
  const inside = (await linksOf(pod.netns)).find(({ name }) => name === stage.ifName)
  if (inside?.kind !== 'veth') return undefined
  const onHost = await linksOf(stage.node.netns)
  return onHost.find(
    ({ kind, index, otherIndex }) => kind === 'veth' && index === inside.otherIndex && otherIndex === inside.index,
  )
}
