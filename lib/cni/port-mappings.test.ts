import t from 'tap'
import { formatAddress } from '../net/address.ts'
import { renderHostPort } from '../net/port-mapping.ts'
import { parseNetworkConfiguration } from './configuration.ts'
import { portMappings } from './port-mappings.ts'

function read(mappings: unknown): readonly string[] {
  const runtimeConfig = { portMappings: mappings }
  const net = { cniVersion: '1.1.0', name: 'n', type: 'tulle', ipam: { type: 'tulle-ipam' }, runtimeConfig }
  return portMappings(parseNetworkConfiguration(JSON.stringify(net))).map(mapping => {
    const at = mapping.hostAddress && formatAddress(mapping.hostAddress)
    return `${renderHostPort(mapping, at)} -> ${mapping.containerPort}`
  })
}

const port = { hostPort: 8080, containerPort: 80, protocol: 'tcp' }

const cases = [
  { name: 'nothing', mappings: null, want: [] },
  { name: 'an empty list', mappings: [], want: [] },
  {
    name: 'one of each protocol',
    mappings: ['tcp', 'udp', 'sctp'].map(protocol => ({ ...port, protocol })),
    want: ['8080/tcp -> 80', '8080/udp -> 80', '8080/sctp -> 80'],
  },
  {
    name: 'a protocol in capitals, as kubelet has it',
    mappings: [{ ...port, protocol: 'UDP' }],
    want: ['8080/udp -> 80'],
  },
  { name: 'no protocol, which is TCP', mappings: [{ hostPort: 1, containerPort: 65535 }], want: ['1/tcp -> 65535'] },
  { name: 'an empty hostIP, which is any', mappings: [{ ...port, hostIP: '' }], want: ['8080/tcp -> 80'] },
  {
    name: 'addresses of both families',
    mappings: [
      { ...port, hostIP: '192.0.2.1' },
      { ...port, hostIP: '2001:db8::1' },
    ],
    want: ['192.0.2.1:8080/tcp -> 80', '[2001:db8::1]:8080/tcp -> 80'],
  },
  { name: 'the same twice, which is one', mappings: [port, port], want: ['8080/tcp -> 80'] },
] as const

for (const { name, mappings, want } of cases) {
  t.test(`portMappings() reads ${name}`, async t => t.same(read(mappings), want))
}

const refused = [
  { name: 'an object', mappings: {}, want: /runtimeConfig\.portMappings \{\}: want a list/ },
  {
    name: 'no host port',
    mappings: [{ containerPort: 80 }],
    want: /portMappings\[0\]\.hostPort is missing: want an integer from 1/,
  },
  {
    name: 'host port 0',
    mappings: [{ ...port, hostPort: 0 }],
    want: /portMappings\[0\]\.hostPort 0: want an integer from 1 to 65535/,
  },
  { name: 'host port 65536', mappings: [{ ...port, hostPort: 65536 }], want: /hostPort 65536/ },
  {
    name: 'no container port',
    mappings: [port, { hostPort: 81 }],
    want: /portMappings\[1\]\.containerPort is missing/,
  },
  { name: 'a port in words', mappings: [{ ...port, hostPort: '80' }], want: /hostPort "80"/ },
  {
    name: 'another protocol',
    mappings: [{ ...port, protocol: 'icmp' }],
    want: /protocol "icmp": want "tcp", "udp", "sctp"/,
  },
  {
    name: 'half an address',
    mappings: [{ ...port, hostIP: '10.1' }],
    want: /portMappings\[0\]\.hostIP: Cannot parse address "10\.1"/,
  },
  {
    name: 'the loopback address of IPv6',
    mappings: [{ ...port, hostIP: '::1' }],
    want: /hostIP "::1": want another address: packets from ::1 cannot leave the host/,
  },
  {
    name: 'one host port for two',
    mappings: [port, { ...port, containerPort: 81 }],
    want: /portMappings\[1\]\.hostPort 8080: want 8080\/tcp once: an earlier mapping leads it to port 80/,
  },
  {
    name: 'more than fit',
    mappings: Array.from({ length: 257 }, (_, index) => ({ ...port, hostPort: index + 1 })),
    want: /portMappings with 257 mappings: want at most 256/,
  },
] as const

for (const { name, mappings, want } of refused) {
  t.test(`portMappings() refuses ${name} with code 7 (C7)`, async t => {
    t.throws(() => read(mappings), { name: 'CniError', code: 7, message: want })
  })
}
