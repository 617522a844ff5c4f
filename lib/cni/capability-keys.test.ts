import t from 'tap'
import { withConventionalKeys } from './capability-keys.ts'
import { parseNetworkConfiguration } from './configuration.ts'
import { portMappings } from './port-mappings.ts'

const cases = [
  {
    name: 'port mappings as containerd spells them',
    given: { portMappings: [{ HostPort: 8080, ContainerPort: 80, Protocol: 'tcp', HostIP: '' }] },
    want: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '' }] },
  },
  {
    name: 'ranges in their two lists',
    given: { ipRanges: [[{ Subnet: '10.0.0.0/24', RangeStart: '10.0.0.9' }]] },
    want: { ipRanges: [[{ subnet: '10.0.0.0/24', rangeStart: '10.0.0.9' }]] },
  },
  {
    name: 'bandwidth and dns',
    given: { bandwidth: { IngressRate: 1, EgressBurst: 2 }, dns: { Servers: ['192.0.2.53'] } },
    want: { bandwidth: { ingressRate: 1, egressBurst: 2 }, dns: { servers: ['192.0.2.53'] } },
  },
  {
    name: 'a key that is spelt right beside one that is not',
    given: { bandwidth: { ingressRate: 1, IngressRate: 2 } },
    want: { bandwidth: { ingressRate: 1, IngressRate: 2 } },
  },
  {
    name: 'what it does not know, and values of the wrong kind',
    given: {
      ips: ['10.0.0.9'],
      'io.kubernetes.cri.pod-annotations': { HostPort: 'x' },
      dns: 5,
      portMappings: [null, 'a'],
    },
    want: {
      ips: ['10.0.0.9'],
      'io.kubernetes.cri.pod-annotations': { HostPort: 'x' },
      dns: 5,
      portMappings: [null, 'a'],
    },
  },
] as const

for (const { name, given, want } of cases) {
  t.test(`withConventionalKeys() takes ${name} (checklist C9)`, async t => {
    t.same(withConventionalKeys(given), want)
  })
}

t.test('portMappings() reads what containerd sends', async t => {
  const runtimeConfig = { portMappings: [{ HostPort: 8080, ContainerPort: 80, Protocol: 'udp', HostIP: '' }] }
  const configuration = { cniVersion: '1.1.0', name: 'n', type: 'tulle', runtimeConfig }
  const [mapping] = portMappings(parseNetworkConfiguration(JSON.stringify(configuration)))
  t.match(mapping, { hostPort: 8080, containerPort: 80, protocol: 'udp' })
})
