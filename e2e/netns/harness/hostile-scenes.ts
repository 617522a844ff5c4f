import fc from 'fast-check'
import { VERBS, type Scene } from './same-answer.ts'

const VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0', '', '2.0.0', 'one'] as const
const mostly = <T>(usual: T, others: fc.Arbitrary<T>): fc.Arbitrary<T> =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: others })
const word = fc.constantFrom('x', '', 'a b', '../x', 'ü', '\u{1f600}', 'x'.repeat(300))

/** Scenes with whatever may be wrong with them. */
export const hostileScenes: fc.Arbitrary<Scene> = fc.record({
  verbs: fc.oneof(
    fc.constantFrom(
      ['ADD', 'CHECK', 'ADD', 'DEL', 'DEL', 'CHECK'],
      ['ADD', 'GC', 'CHECK', 'STATUS', 'DEL', 'STATUS'],
    ) as fc.Arbitrary<Scene['verbs']>,
    fc.array(fc.constantFrom(...VERBS), { minLength: 1, maxLength: 4 }),
  ),
  configuration: fc.record(
    {
      cniVersion: mostly<unknown>('1.1.0', fc.constantFrom(...VERSIONS)),
      name: mostly<unknown>('pods', fc.oneof(word, fc.constant(7))),
      mtu: fc.constantFrom<unknown>(1400, 1000, 0, -1, 'big', 65536),
      mode: mostly<unknown>('transparent', fc.constant('x')),
      ipsToRouteViaHost: fc.constantFrom<unknown>([], ['169.254.20.10'], ['fd00::53', '10.0.0.10'], ['127.0.0.1'], 'x'),
      dns: fc.constantFrom<unknown>({ nameservers: ['10.96.0.10'], search: ['a.b'] }, {}, null, 'x'),
      args: fc.constantFrom<unknown>({ cni: { labels: [] } }, { cni: { ips: ['10.244.0.2'] } }, null),
      ipam: mostly<unknown>(
        { type: 'tulle-ipam' },
        fc.constantFrom({ type: 'tulle-ipam', pool: 'none' }, { type: 'host-local' }, {}, null),
      ),
      'cni.dev/valid-attachments': fc.constantFrom<unknown>([], null, [{ containerID: 'x', ifname: 'eth0' }], 'x'),
    },
    { requiredKeys: ['cniVersion', 'name', 'ipam'] },
  ),
  env: fc.record(
    {
      CNI_ARGS: fc.constantFrom(
        '',
        'IgnoreUnknown=1;K8S_POD_NAME=web',
        'a=b=c',
        'X=1',
        'IgnoreUnknown=1;IP=10.244.0.2',
      ),
      CNI_IFNAME: mostly('eth0', fc.constantFrom('net1', '', 'a/b', 'x'.repeat(16))),
      CNI_CONTAINERID: mostly<string | undefined>(undefined, fc.constantFrom('', '-x', 'x'.repeat(200))),
      CNI_NETNS: mostly<string | undefined>(
        undefined,
        fc.constantFrom('', 'relative', '/nonexistent', '/dev/null', '/proc/self/ns/net'),
      ),
    },
    { requiredKeys: [] },
  ),
  keepsResult: fc.boolean(),
})
