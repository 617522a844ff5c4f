import type { JsonObject } from '../../e2e/netns/harness/json.ts'
import { type Check, SPEC } from '../check.ts'
import { isGiven, linksOf, renderLinks } from '../kernel.ts'
import { documentOf } from '../outcome.ts'
import { interfacesOf, ipsOf } from '../result.ts'
import type { AddedPod, Stage } from '../stage.ts'

/** ADD (SPEC 1.1.0, section 2): the interface that it makes, and what is there before. */
export const addChecks: readonly Check[] = [
  {
    id: 'A1.interface-made',
    basis: 'must',
    source: SPEC.add,
    expected: 'After ADD there is an interface named CNI_IFNAME in the namespace at CNI_NETNS.',
    async run(stage) {
      const pod = await stage.added()
      const names = (await linksOf(pod.netns)).map(({ name }) => name)
      stage.expect(names.includes(stage.ifName), `interfaces in the pod: ${names.join(', ')}`)
    },
  },
  {
    id: 'A1.interface-up',
    basis: 'our-reading',
    source: `${SPEC.parameters.replace('Parameters', 'Overview')}: an interface plugin "ensures it has connectivity"`,
    expected: 'The interface is up after ADD.',
    async run(stage) {
      const pod = await stage.added()
      stage.expect(
        (await linksOf(pod.netns)).some(({ name, isUp }) => name === stage.ifName && isUp),
        `${stage.ifName} is down`,
      )
    },
  },
  {
    id: 'A1.name-exists',
    basis: 'must',
    source: SPEC.add,
    expected: 'When an interface of the requested name exists already, ADD fails.',
    needs: ['interface'],
    async run(stage) {
      const pod = await stage.pod()
      await stage.addInterface(pod, stage.ifName)
      stage.expectFailure(await stage.runtime.add(pod.attachment))
    },
  },
  {
    id: 'A1.name-exists-untouched',
    basis: 'our-reading',
    source: `${SPEC.add}: "the CNI plugin MUST return with an error", and what exists is not its own`,
    expected:
      'The interface that made ADD fail is left as it was, also by the DEL that follows a failed ADD on the host side.',
    needs: ['interface'],
    async run(stage) {
      const pod = await stage.pod()
      await stage.addInterface(pod, stage.ifName)
      const before = renderLinks(await linksOf(pod.netns))
      await stage.runtime.add(pod.attachment)
      const after = renderLinks(await linksOf(pod.netns))
      stage.expect(before === after, `was ${before}, is ${after}`)
    },
  },
  {
    id: 'A1.twice',
    basis: 'must',
    source: SPEC.add,
    expected: 'A second ADD of the same attachment fails, because its interface exists.',
    needs: ['interface'],
    async run(stage) {
      const pod = await stage.added()
      stage.expectFailure(await stage.runtime.add(pod.attachment))
    },
  },
  {
    id: 'A1.twice-harmless',
    basis: 'lesson',
    source: 'a runtime that was restarted asks again: what it has must not suffer',
    expected: 'After a second ADD that failed, the first attachment has its interface and its addresses still.',
    needs: ['interface'],
    async run(stage) {
      const pod = await stage.added()
      const before = await addressesIn(stage, pod)
      await stage.runtime.add(pod.attachment)
      const after = await addressesIn(stage, pod)
      stage.expect(before === after, `had ${before}, has ${after}`)
    },
  },
  {
    id: 'A2.prev-result',
    basis: 'must',
    source: `${SPEC.add} and section 5: "must output it as their result, with any possible modifications"`,
    expected: 'ADD with a prevResult passes on its interfaces and addresses.',
    needs: ['addresses'],
    async run(stage) {
      const pod = await stage.pod()
      await stage.addInterface(pod, 'before0')
      const outcome = await stage.call('ADD', {
        attachment: pod.attachment,
        prevResult: prevResultOf(stage, pod.attachment.netnsPath),
      })
      stage.expectSuccess(outcome)
      const result = documentOf(outcome)
      if (outcome.exitCode !== 0 || result === undefined) return
      const names = interfacesOf(result).map(({ name }) => name)
      stage.expect(names.includes('before0'), `interfaces of the result: ${names.join(', ')}`)
      const given = ipsOf(result).find(({ address }) => address === '198.51.100.7/24')
      stage.expect(given !== undefined, `addresses of the result: ${JSON.stringify(result['ips'])}`)
      const owner = given === undefined ? undefined : interfacesOf(result)[Number(given.interface)]?.name
      stage.expect(
        given === undefined || owner === 'before0',
        `198.51.100.7/24 belongs to ${String(owner)} in the result`,
      )
    },
  },
]

function prevResultOf(stage: Stage, sandbox: string): JsonObject {
  const { cniVersion } = stage.runtime.list
  const isOld = cniVersion.startsWith('0.')
  return {
    cniVersion,
    interfaces: [{ name: 'before0', sandbox }],
    ips: [{ ...(isOld ? { version: '4' } : {}), address: '198.51.100.7/24', interface: 0 }],
    routes: [],
    dns: {},
  }
}

async function addressesIn(stage: Stage, pod: AddedPod): Promise<string> {
  const link = (await linksOf(pod.netns)).find(({ name }) => name === stage.ifName)
  const addresses = (link?.addresses ?? [])
    .filter(isGiven)
    .map(({ address, prefixLength }) => `${address}/${prefixLength}`)
  return link === undefined ? 'no interface' : addresses.toSorted().join(', ')
}
