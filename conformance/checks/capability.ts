import { isObject } from '../../e2e/netns/harness/json.ts'
import { type Check, NotApplicable, SPEC } from '../check.ts'
import { linksOf } from '../kernel.ts'
import { describeOutcome } from '../outcome.ts'
import { addressesOf } from '../result.ts'
import type { AddedPod, Stage } from '../stage.ts'

/** Capabilities (CONVENTIONS): asked only of those that the configuration declares. */
export const capabilityChecks: readonly Check[] = [
  capability(
    'P1.mac',
    'mac',
    '02:00:5e:00:53:31',
    'The interface has the hardware address that the capability asks for.',
    async (stage, pod) => {
      const link = (await linksOf(pod.netns)).find(({ name }) => name === stage.ifName)
      stage.expect(link?.mac === '02:00:5e:00:53:31', `${stage.ifName} has ${link?.mac ?? 'no address'}`)
    },
  ),
  capability(
    'P2.dns',
    'dns',
    { servers: ['192.0.2.53'], searches: ['a.example.test'], options: ['ndots:3'] },
    'The result has the resolver settings that the capability gives.',
    async (stage, pod) => {
      const dns = JSON.stringify(pod.result['dns'] ?? {})
      stage.expect(
        ['192.0.2.53', 'a.example.test', 'ndots:3'].every(word => dns.includes(word)),
        `dns of the result: ${dns}`,
      )
    },
  ),
  capability(
    'P3.port-mappings',
    'portMappings',
    [{ hostPort: 30_081, containerPort: 81, protocol: 'udp' }],
    'Port mappings are accepted, and gone after DEL.',
    async () => {},
  ),
  capability(
    'P4.bandwidth',
    'bandwidth',
    { ingressRate: 8_000_000, ingressBurst: 4_294_967_295, egressRate: 8_000_000, egressBurst: 4_294_967_295 },
    'Bandwidth with the largest burst, as runtimes pass it, is accepted.',
    async () => {},
  ),
  capability('P5.aliases', 'aliases', ['web', 'www'], 'Aliases are accepted.', async () => {}),
  {
    id: 'P6.ips',
    basis: 'should',
    source: SPEC.conventions,
    expected: 'The address that the capability ips asks for is the one that the pod gets.',
    needs: ['addresses'],
    async run(stage) {
      if (!declares(stage, 'ips')) throw new NotApplicable('the configuration does not declare ips')
      // An address of the network that is certainly good and free: the one that another pod has just given back.
      const first = await stage.added()
      const wanted = addressesOf(first.result)
      await stage.runtime.del(first.attachment, first.result)
      const pod = await stage.added({ attachment: { capabilities: { ips: wanted } } })
      const got = addressesOf(pod.result)
      stage.expect(
        wanted.every(address => got.includes(address)),
        `asked for ${wanted.join(', ')}, got ${got.join(', ')}`,
      )
    },
  },
  {
    id: 'P7.malformed',
    basis: 'lesson',
    source: `${SPEC.conventions}; a capability that is ignored is found when a pod does not work`,
    expected: 'A capability that the configuration declares is refused when its value is of the wrong kind.',
    needs: ['addresses'],
    async run(stage) {
      const names = ['mac', 'dns', 'portMappings', 'bandwidth', 'ips'].filter(name => declares(stage, name))
      if (names.length === 0) throw new NotApplicable('the configuration declares no capabilities')
      for (const name of names) {
        const pod = await stage.pod({ attachment: { capabilities: { [name]: 42 } } })
        const added = await stage.runtime.add(pod.attachment)
        stage.expect(!added.isSuccess, () => `${name}: 42 was taken: ${describeOutcome(added.decisive)}`)
      }
    },
  },
]

function capability(
  id: Check['id'],
  name: string,
  value: unknown,
  expected: string,
  look: (stage: Stage, pod: AddedPod) => Promise<void>,
): Check {
  return {
    id,
    basis: 'should',
    source: SPEC.conventions,
    expected,
    needs: ['addresses'],
    async run(stage) {
      if (!declares(stage, name)) throw new NotApplicable(`the configuration does not declare ${name}`)
      const pod = await stage.added({ attachment: { capabilities: { [name]: value } } })
      await look(stage, pod)
      stage.expectSuccess(await stage.runtime.del(pod.attachment, pod.result))
    },
  }
}

function declares(stage: Stage, name: string): boolean {
  return stage.runtime.list.plugins.some(({ capabilities }) => isObject(capabilities) && capabilities[name] === true)
}
