import { type Check, NotApplicable, SPEC } from '../check.ts'
import { codeOf, describeOutcome } from '../outcome.ts'
import { interfacesOf } from '../result.ts'
import { type AddedPod, type Stage, isInterfaceOf } from '../stage.ts'
import { assertSupported } from './version.ts'

const LATER = `${SPEC.check}: "must allow for a later chained plugin to have modified networking resources"`

/** CHECK (SPEC 1.1.0, section 2): of what is healthy, and of what others have added. What is broken: check-broken.ts. */
export const checkVerbChecks: readonly Check[] = [
  {
    id: 'K0.healthy',
    basis: 'must',
    source: `${SPEC.check}: "must handle CHECK being called immediately after an ADD"`,
    expected: 'CHECK right after ADD succeeds.',
    needs: ['CHECK'],
    async run(stage) {
      const pod = await stage.added()
      stage.expectSuccess(await stage.runtime.check(pod.attachment, pod.result))
    },
  },
  {
    id: 'K0.reads-only',
    basis: 'our-reading',
    source: `${SPEC.check}: "a way for a runtime to probe the status of an existing container"`,
    expected: 'CHECK changes nothing on the node.',
    needs: ['CHECK'],
    async run(stage) {
      const pod = await stage.added()
      const before = await stage.node.state()
      await stage.runtime.check(pod.attachment, pod.result)
      const after = await stage.node.state()
      stage.expect(JSON.stringify(before) === JSON.stringify(after), 'the state of the node is another after CHECK')
    },
  },
  {
    id: 'K0.old-version',
    basis: 'library',
    source: `${SPEC.skel}: CHECK came with 0.4.0`,
    expected: 'CHECK with a configuration of 0.3.1 is refused with code 1.',
    async run(stage) {
      await assertSupported(stage, '0.4.0')
      const pod = await stage.pod()
      const outcome = await stage.call('CHECK', { attachment: pod.attachment, keys: { cniVersion: '0.3.1' } })
      stage.expect(codeOf(outcome) === 1, describeOutcome(outcome))
    },
  },
  {
    id: 'K1.no-prev-result',
    basis: 'our-reading',
    source: `${SPEC.check}: "must consult the prevResult", and the runtime "must include" one`,
    expected: 'CHECK without prevResult fails.',
    needs: ['CHECK'],
    async run(stage) {
      const pod = await stage.added()
      stage.expectFailure(await stage.call('CHECK', { attachment: pod.attachment }))
    },
  },
  tolerated('K4.extra-route', 'a route was added', async (stage, pod) => {
    await stage.run(pod.netns, ['ip', 'route', 'add', 'blackhole', '198.51.100.0/24'])
  }),
  tolerated('K4.extra-address', 'an address was added', async (stage, pod) => {
    await stage.run(pod.netns, ['ip', 'address', 'add', '198.51.100.9/32', 'dev', stage.ifName])
  }),
  tolerated('K4.extra-interface', 'an interface was added', async (stage, pod) => {
    await stage.addInterface(pod, 'later0')
  }),
  {
    id: 'K4.later-mac',
    basis: 'must',
    source: LATER,
    expected:
      'CHECK succeeds when a later plugin has given the interface another hardware address, and prevResult says so.',
    needs: ['CHECK', 'interface'],
    async run(stage) {
      const pod = await stage.added()
      if (interfacesOf(pod.result).length === 0) throw new NotApplicable('results of this version have no interfaces')
      const mac = '02:00:5e:00:53:42'
      await stage.run(pod.netns, ['ip', 'link', 'set', stage.ifName, 'address', mac])
      const interfaces = interfacesOf(pod.result).map(entry => (isInterfaceOf(entry, pod) ? { ...entry, mac } : entry))
      stage.expectSuccess(await stage.runtime.check(pod.attachment, { ...pod.result, interfaces }))
    },
  },
  {
    id: 'K4.later-result',
    basis: 'our-reading',
    source: `${LATER}, and what a later plugin created is not "created by the plugin"`,
    expected: 'CHECK succeeds when prevResult lists an interface and an address more, which a later plugin made.',
    needs: ['CHECK', 'addresses'],
    async run(stage) {
      const pod = await stage.added()
      const { interfaces, ips } = pod.result
      if (!Array.isArray(interfaces) || !Array.isArray(ips))
        throw new NotApplicable('results of this version have no interfaces')
      await stage.addInterface(pod, 'later0')
      await stage.run(pod.netns, ['ip', 'address', 'add', '198.51.100.9/24', 'dev', 'later0'])
      const isOld = stage.runtime.list.cniVersion.startsWith('0.')
      const result = {
        ...pod.result,
        interfaces: [...interfaces, { name: 'later0', sandbox: pod.attachment.netnsPath }],
        ips: [...ips, { ...(isOld ? { version: '4' } : {}), address: '198.51.100.9/24', interface: interfaces.length }],
      }
      stage.expectSuccess(await stage.runtime.check(pod.attachment, result))
    },
  },
]

function tolerated(id: Check['id'], what: string, add: (stage: Stage, pod: AddedPod) => Promise<void>): Check {
  return {
    id,
    basis: 'must',
    source: LATER,
    expected: `CHECK succeeds although ${what} in the pod by a later plugin.`,
    needs: ['CHECK', 'interface'],
    async run(stage) {
      const pod = await stage.added()
      await add(stage, pod)
      stage.expectSuccess(await stage.runtime.check(pod.attachment, pod.result), what)
    },
  }
}
