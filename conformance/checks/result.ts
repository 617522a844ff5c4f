import { type JsonObject, asObjects, isObject } from '../../e2e/netns/harness/json.ts'
import { familyOf, parseCidr, routeName } from '../address.ts'
import { type Check, NotApplicable, SPEC } from '../check.ts'
import { isGiven, linksOf, routesOf } from '../kernel.ts'
import { documentOf } from '../outcome.ts'
import { interfacesOf, ipsOf } from '../result.ts'
import { type AddedPod, type Stage, isInterfaceOf } from '../stage.ts'

/** The result of ADD (SPEC 1.1.0, section 5): it says what the kernel has. */
export const resultChecks: readonly Check[] = [
  {
    id: 'A4.container-interface',
    basis: 'must',
    source: SPEC.result,
    expected: 'The result lists the interface in the container: name, and CNI_NETNS exactly as passed as its sandbox.',
    run: async stage =>
      await withInterface(stage, async pod => {
        const own = interfacesOf(pod.result).filter(entry => isInterfaceOf(entry, pod))
        stage.expect(
          own.length === 1,
          `interfaces: ${JSON.stringify(pod.result['interfaces'])}, CNI_NETNS ${pod.attachment.netnsPath}`,
        )
      }),
  },
  {
    id: 'A4.mac',
    basis: 'must',
    source: SPEC.result,
    expected: 'Hardware addresses in the result are those that the interfaces have.',
    run: async stage => await withInterface(stage, async pod => await compareLinks(stage, pod, 'mac')),
  },
  {
    id: 'A4.mtu',
    basis: 'must',
    source: SPEC.result,
    expected: 'MTUs in the result are those that the interfaces have.',
    run: async stage => await withInterface(stage, async pod => await compareLinks(stage, pod, 'mtu')),
  },
  {
    id: 'A4.host-interfaces',
    basis: 'must',
    source: `${SPEC.result}: "all interfaces created by the attachment, including any host-level interfaces"`,
    expected:
      'Every interface that ADD made on the host is in the result, with an empty sandbox, and those listed exist.',
    run: async stage => {
      const before = (await linksOf(stage.node.netns)).map(({ name }) => name)
      return await withInterface(stage, async pod => {
        const after = (await linksOf(stage.node.netns)).map(({ name }) => name)
        const listed = interfacesOf(pod.result)
          .filter(({ sandbox }) => (sandbox ?? '') === '')
          .map(({ name }) => name)
        const unlisted = after.filter(name => !before.includes(name) && !listed.includes(name))
        stage.expect(unlisted.length === 0, `made on the host and not in the result: ${unlisted.join(', ')}`)
        const imagined = listed.filter(name => !after.includes(name))
        stage.expect(imagined.length === 0, `in the result and not on the host: ${imagined.join(', ')}`)
      })
    },
  },
  {
    id: 'A5.addresses-set',
    basis: 'must',
    source: SPEC.result,
    expected: 'Every address of the result is on the interface that its index names, with its prefix length.',
    needs: ['addresses'],
    run: async stage =>
      await withInterface(stage, async pod => {
        const links = await linksOf(pod.netns)
        for (const ip of ipsOf(pod.result)) {
          const cidr = parseCidr(ip.address)
          const entry = interfacesOf(pod.result)[Number(ip.interface)]
          const link = links.find(({ name }) => name === entry?.name)
          const isThere = link?.addresses.some(
            at => at.address === cidr?.address && at.prefixLength === cidr.prefixLength,
          )
          stage.expect(
            isThere === true,
            `${JSON.stringify(ip)}: ${link?.name ?? 'no interface'} has ${JSON.stringify(link?.addresses ?? [])}`,
          )
        }
      }),
  },
  {
    id: 'A5.addresses-all',
    basis: 'must',
    source: `${SPEC.result}: "IPs assigned by this attachment"`,
    expected: 'Every address that ADD gave the interface is in the result.',
    needs: ['addresses'],
    run: async stage =>
      await withInterface(stage, async pod => {
        const listed = ipsOf(pod.result).map(({ address }) => parseCidr(address)?.address)
        const link = (await linksOf(pod.netns)).find(({ name }) => name === stage.ifName)
        const unlisted = (link?.addresses ?? []).filter(isGiven).filter(({ address }) => !listed.includes(address))
        stage.expect(
          unlisted.length === 0,
          `on ${stage.ifName} and not in the result: ${unlisted.map(({ address }) => address).join(', ')}`,
        )
      }),
  },
  {
    id: 'A5.families',
    basis: 'lesson',
    source: 'dual-stack is all or nothing: a pod with one family of two is broken for half of its peers',
    expected: 'An attachment gets an address of each family that the network has.',
    needs: ['addresses'],
    async run(stage) {
      const { families } = stage.subject
      if (families === undefined) throw new NotApplicable('it was not said which families to expect')
      const pod = await stage.added()
      const got = ipsOf(pod.result).map(({ address }) => familyOf(String(address)))
      const lacking = families.filter(family => !got.includes(family))
      stage.expect(lacking.length === 0, `no ${lacking.join(', ')} in ${JSON.stringify(pod.result)}`)
    },
  },
  {
    id: 'A5.not-tentative',
    basis: 'lesson',
    source: 'an address that is still being tried (duplicate address detection) drops the first packets of a pod',
    expected: 'No IPv6 address of the pod is tentative when ADD returns.',
    needs: ['addresses'],
    async run(stage) {
      const pod = await stage.added()
      const tentative = (await linksOf(pod.netns))
        .flatMap(({ addresses }) => addresses.filter(({ isTentative }) => isTentative))
        .filter(isGiven)
      stage.expect(tentative.length === 0, `tentative: ${tentative.map(({ address }) => address).join(', ')}`)
    },
  },
  {
    id: 'A6.routes',
    basis: 'must',
    source: `${SPEC.result}: "Routes created by this attachment"`,
    expected: 'Every route of the result is there, in the namespace of the container.',
    needs: ['addresses'],
    run: async stage =>
      await withInterface(stage, async pod => {
        const routes = await routesOf(pod.netns)
        for (const route of asObjects(pod.result['routes'] ?? [], 'routes')) {
          const dst = routeName(route['dst'])
          const family = familyOf(String(route['dst']))
          stage.expect(
            routes.some(at => at.dst === dst && at.family === family),
            `${JSON.stringify(route)}: the pod has ${JSON.stringify(routes)}`,
          )
        }
      }),
  },
  {
    id: 'A7.dns',
    basis: 'should',
    source: `${SPEC.configuration}: plugins that consume a well-known key "should respect" its intended semantics`,
    expected: 'The `dns` of the configuration is in the result, or the result has none.',
    needs: ['addresses'],
    async run(stage) {
      const pod = await stage.pod()
      const dns = {
        nameservers: ['192.0.2.53'],
        domain: 'example.test',
        search: ['a.example.test'],
        options: ['ndots:2'],
      }
      const outcome = await stage.call('ADD', { attachment: pod.attachment, keys: { dns } })
      stage.expectSuccess(outcome)
      const got = documentOf(outcome)?.['dns']
      if (!isObject(got) || Object.keys(got).length === 0) throw new NotApplicable('the plugin does not consume dns')
      stage.expect(sameKeys(got, dns), `dns of the result: ${JSON.stringify(got)}`)
    },
  },
]

/** Attaches a container and looks at it. Before 0.3.0 results have no interfaces. */
async function withInterface(stage: Stage, look: (pod: AddedPod) => Promise<void>): Promise<void> {
  const pod = await stage.added()
  if (pod.result['ip4'] !== undefined || pod.result['ip6'] !== undefined)
    throw new NotApplicable('results of this version have no interfaces')
  await look(pod)
}

async function compareLinks(stage: Stage, pod: AddedPod, key: 'mac' | 'mtu'): Promise<void> {
  const [inPod, onHost] = [await linksOf(pod.netns), await linksOf(stage.node.netns)]
  for (const entry of interfacesOf(pod.result)) {
    const link = ((entry.sandbox ?? '') === '' ? onHost : inPod).find(({ name }) => name === entry.name)
    const has = key === 'mac' ? link?.mac : link?.mtuBytes
    const says = key === 'mac' ? entry.mac?.toLowerCase() : entry.mtu
    if (says === undefined || says === '' || says === 0) continue
    stage.expect(has === says, `${entry.name}: ${key} is ${has}, the result says ${says}`)
  }
}

function sameKeys(got: JsonObject, want: JsonObject): boolean {
  return Object.entries(want).every(([key, value]) => JSON.stringify(got[key]) === JSON.stringify(value))
}
