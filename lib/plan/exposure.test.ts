import t from 'tap'
import { parseAddress } from '../net/address.ts'
import { parsePrefix } from '../net/prefix.ts'
import { formatExposure, parseExposure } from './exposure-record.ts'
import {
  elementsOf,
  isSamePort,
  planExposure,
  planWithdrawal,
  rulesetsOf,
  unusablePorts,
  type Exposure,
} from './exposure.ts'
import { HOST_PORT_RULESET, masqueradeChainName, masqueradeRuleset } from './exposure-ruleset.ts'
import { renderPlan } from './render.ts'
import { renderRuleset, ruleComment } from './ruleset.ts'
import { undoOf } from './undo.ts'

const WEB: Exposure = {
  attachment: { network: 'net1', containerId: 'c1', ifName: 'eth0' },
  addresses: ['10.244.1.7', 'fd00::7'].map(parseAddress),
  ports: [{ protocol: 'tcp', hostPort: 8080, containerPort: 80 }],
  isHairpinMasqueraded: true,
}
const at = (hostIp: string, protocol: 'tcp' | 'udp' = 'tcp') =>
  ({ protocol, hostPort: 8080, containerPort: 80, hostAddress: parseAddress(hostIp) }) as const

/** The elements of `exposure` as text, without the one that says where the others are. */
function shown(exposure: Exposure): readonly string[] {
  return renderPlan(planExposure(exposure))
    .split(/add element inet tulle /)
    .slice(1)
    .map(text => text.replace(/ comment ".*?"/, '').replace(/( \}).*/s, '$1'))
    .filter(text => !text.startsWith('owners'))
}

t.test('planExposure() is one transaction, as nft(8) would do it, with the owner in every element', async t => {
  t.equal(
    renderPlan(planExposure({ ...WEB, addresses: [parseAddress('10.244.1.7')] })),
    'host: nft \'add element inet tulle hostports-4 { tcp . 8080 comment "tulle/1 eth0 c1 net1" : 10.244.1.7 . 80 }; ' +
      'add element inet tulle hairpins-4 { 10.244.1.7 . 10.244.1.7 comment "tulle/1 eth0 c1 net1" }; ' +
      'add element inet tulle hairpins-4 { 127.0.0.1 . 10.244.1.7 comment "tulle/1 eth0 c1 net1" }; ' +
      'add element inet tulle owners { tulods7ny3havrg comment "tulle/1 eth0 c1 net1" : 17 }\'',
  )
})

t.test('planExposure() forgets UDP flows after the elements, and so does planWithdrawal() (R19)', async t => {
  const dns = {
    ...WEB,
    addresses: [parseAddress('10.244.1.7')],
    ports: [at('192.0.2.1', 'udp')],
    isHairpinMasqueraded: false,
  }
  const forget = 'host: conntrack -D -f ipv4 -p udp --orig-port-dst 8080 --orig-dst 192.0.2.1'
  t.equal(renderPlan(planExposure(dns)).split('\n')[1], forget)
  const [remove, second] = renderPlan(planWithdrawal(dns.attachment, elementsOf(dns))).split('\n')
  t.match(
    remove,
    /^host: nft 'delete element inet tulle hostports-at-4 \{ udp \. 192\.0\.2\.1 \. 8080 \}; delete element inet tulle owners/,
  )
  t.equal(second, forget)
  t.same(renderPlan(undoOf(planExposure(dns))), remove, 'undone by its inverse')
  t.same(planWithdrawal(dns.attachment, []), [])
})

const HAIRPINS = ['hairpins-4 { 10.244.1.7 . 10.244.1.7 }', 'hairpins-6 { fd00::7 . fd00::7 }']
const LOOPBACK = 'hairpins-4 { 127.0.0.1 . 10.244.1.7 }'
const cases = [
  {
    name: 'any address',
    ports: WEB.ports,
    want: [
      'hostports-4 { tcp . 8080 : 10.244.1.7 . 80 }',
      'hostports-6 { tcp . 8080 : fd00::7 . 80 }',
      ...HAIRPINS,
      LOOPBACK,
    ],
  },
  {
    name: '0.0.0.0',
    ports: [at('0.0.0.0')],
    want: ['hostports-4 { tcp . 8080 : 10.244.1.7 . 80 }', HAIRPINS[0], LOOPBACK],
  },
  { name: '::', ports: [at('::')], want: ['hostports-6 { tcp . 8080 : fd00::7 . 80 }', HAIRPINS[1]] },
  {
    name: 'one address',
    ports: [at('192.0.2.1')],
    want: ['hostports-at-4 { tcp . 192.0.2.1 . 8080 : 10.244.1.7 . 80 }', HAIRPINS[0]],
  },
  {
    name: 'the loopback',
    ports: [at('127.0.0.1')],
    want: ['hostports-at-4 { tcp . 127.0.0.1 . 8080 : 10.244.1.7 . 80 }', HAIRPINS[0], LOOPBACK],
  },
  {
    name: '0.0.0.0 and ::, as podman asks',
    ports: [at('0.0.0.0'), at('::')],
    want: [
      'hostports-4 { tcp . 8080 : 10.244.1.7 . 80 }',
      'hostports-6 { tcp . 8080 : fd00::7 . 80 }',
      ...HAIRPINS,
      LOOPBACK,
    ],
  },
] as const

for (const { name, ports, want } of cases) {
  t.test(`elementsOf() a pod with a port at ${name}`, async t => {
    t.same(new Set(shown({ ...WEB, ports })), new Set(want))
    t.same(
      new Set(shown({ ...WEB, ports, isHairpinMasqueraded: false })),
      new Set(want.filter(text => !text?.startsWith('hairpins'))),
    )
  })
}

t.test('elementsOf() masquerades every address of a pod, in the chain of its network', async t => {
  const except = [parsePrefix('10.0.0.0/8')]
  const chain = masqueradeChainName(except)
  t.same(shown({ ...WEB, ports: [], masquerade: { except } }), [
    `masquerade-4 { 10.244.1.7 : jump ${chain} }`,
    `masquerade-6 { fd00::7 : jump ${chain} }`,
  ])
  t.same(elementsOf({ ...WEB, ports: [] }), [], 'nothing is asked for')
  t.same(rulesetsOf({ ...WEB, ports: [] }), [])
})

t.test('unusablePorts() finds what a pod has no address for', async t => {
  const ports = [...WEB.ports, at('192.0.2.1'), at('2001:db8::1')]
  t.same(unusablePorts({ ports, addresses: [parseAddress('fd00::7')] }), [at('192.0.2.1')])
})

t.test('isSamePort() sees that a port at any address is that of each', async t => {
  const elementOf = (hostIp?: string, protocol: 'tcp' | 'udp' = 'tcp') => {
    const ports = hostIp === undefined ? [{ ...WEB.ports[0], protocol } as const] : [at(hostIp, protocol)]
    const [element] = elementsOf({
      ...WEB,
      addresses: [parseAddress(hostIp?.includes(':') ? 'fd00::7' : '10.244.1.7')],
      ports: ports as Exposure['ports'],
    })
    if (element === undefined) throw new Error('no element')
    return element
  }
  t.equal(isSamePort(elementOf(), elementOf()), true)
  t.equal(isSamePort(elementOf(), elementOf('192.0.2.1')), true)
  t.equal(isSamePort(elementOf('192.0.2.1'), elementOf()), true)
  t.equal(isSamePort(elementOf('192.0.2.1'), elementOf('192.0.2.1')), true)
  t.equal(isSamePort(elementOf('192.0.2.1'), elementOf('192.0.2.2')), false)
  t.equal(isSamePort(elementOf(), elementOf('2001:db8::1')), false)
  t.equal(isSamePort(elementOf(), elementOf('192.0.2.1', 'udp')), false)
})

t.test('renderRuleset() shows the chains of hostPorts as nft(8) would', async t => {
  t.equal(
    renderRuleset({ ...HOST_PORT_RULESET, sets: [] }).replaceAll(/ comment ".*"/g, ''),
    [
      'table inet tulle {',
      '\tchain hostports {',
      '\t\tfib daddr type != local return',
      '\t\tip6 daddr ::1 return',
      '\t\tdnat ip to meta l4proto . ip daddr . th dport map @hostports-at-4',
      '\t\tdnat ip to meta l4proto . th dport map @hostports-4',
      '\t\tdnat ip6 to meta l4proto . ip6 daddr . th dport map @hostports-at-6',
      '\t\tdnat ip6 to meta l4proto . th dport map @hostports-6',
      '\t}',
      '\tchain hostports-in {',
      '\t\ttype nat hook prerouting priority dstnat; policy accept;',
      '\t\tip daddr 127.0.0.0/8 return',
      '\t\tjump hostports',
      '\t}',
      '\tchain hostports-out {',
      '\t\ttype nat hook output priority -100; policy accept;',
      '\t\tjump hostports',
      '\t}',
      '\tchain hairpins {',
      '\t\ttype nat hook postrouting priority srcnat; policy accept;',
      '\t\tip saddr . ip daddr @hairpins-4 masquerade',
      '\t\tip6 saddr . ip6 daddr @hairpins-6 masquerade',
      '\t}',
      '}',
    ].join('\n'),
  )
})

t.test('renderRuleset() shows the sets and chains of masquerade as nft(8) would', async t => {
  const except = [parsePrefix('172.16.0.0/12'), parsePrefix('169.254.20.10/32')]
  t.equal(
    renderRuleset(masqueradeRuleset(except)).replaceAll(/ comment ".*"/g, ''),
    [
      'table inet tulle {',
      'map owners {',
      '\ttype ifname : mark',
      '}',
      'map masquerade-4 {',
      '\ttype ipv4_addr : verdict',
      '}',
      'set pools-4 {',
      '\ttype ipv4_addr',
      '\tflags interval',
      '}',
      'set cluster-4 {',
      '\ttype ipv4_addr',
      '\tflags interval',
      '}',
      'map masquerade-6 {',
      '\ttype ipv6_addr : verdict',
      '}',
      'set pools-6 {',
      '\ttype ipv6_addr',
      '\tflags interval',
      '}',
      'set cluster-6 {',
      '\ttype ipv6_addr',
      '\tflags interval',
      '}',
      `chain ${masqueradeChainName(except)} {`,
      '\toifname "tul*" return',
      '\tip daddr 169.254.0.0/16 return',
      '\tip daddr 224.0.0.0/4 return',
      '\tip daddr 255.255.255.255 return',
      '\tip6 daddr fe80::/10 return',
      '\tip6 daddr ff00::/8 return',
      '\tip daddr 169.254.20.10 return',
      '\tip daddr 172.16.0.0/12 return',
      '\tip daddr @pools-4 return',
      '\tip daddr @cluster-4 return',
      '\tip6 daddr @pools-6 return',
      '\tip6 daddr @cluster-6 return',
      '\tmasquerade fully-random',
      '}',
      'chain masquerade {',
      '\ttype nat hook postrouting priority srcnat; policy accept;',
      '\tip saddr vmap @masquerade-4',
      '\tip6 saddr vmap @masquerade-6',
      '}',
      '}',
    ]
      .map((line, index, all) => (index === 0 || index === all.length - 1 ? line : `\t${line}`))
      .join('\n'),
  )
})

t.test('masqueradeChainName() is one for networks that except the same, in any order', async t => {
  const [a, b] = [parsePrefix('10.0.0.0/8'), parsePrefix('fd00::/8')]
  t.equal(masqueradeChainName([a, b]), masqueradeChainName([b, a, a]))
  t.not(masqueradeChainName([a]), masqueradeChainName([a, b]))
})

// nft(8) takes 128 bytes for the comment of a rule.
t.test('ruleComment() fits what nft(8) allows', async t => {
  const longest = masqueradeRuleset([parsePrefix('fd00:1111:2222:3333:4444:5555:6666:7777/128')])
  for (const { chains } of [HOST_PORT_RULESET, longest]) {
    for (const rule of chains.flatMap(({ rules }) => rules)) t.ok(ruleComment(rule).length < 128, ruleComment(rule))
  }
})

t.test('parseExposure() reads what formatExposure() wrote, and nothing that is cut off or changed', async t => {
  const whole: Exposure = {
    ...WEB,
    ports: [...WEB.ports, at('192.0.2.1', 'udp')],
    masquerade: { except: [parsePrefix('10.0.0.0/8')] },
  }
  t.same(parseExposure(formatExposure(whole)), whole)
  t.same(parseExposure(formatExposure(WEB)), WEB)
  const text = formatExposure(whole).trimEnd()
  for (let length = 0; length < text.length; length++)
    t.throws(() => parseExposure(text.slice(0, length)), { name: 'ParseError' })
  for (const [from, to] of [
    ['tulle-exposure/1', 'tulle-exposure/2'],
    ['"udp"', '"icmp"'],
    ['8080', '80800'],
    ['10.244.1.7', '10.244'],
    ['10.0.0.0/8', '10.0.0.1/8'],
    ['"c1"', '"../c1"'],
    ['"c1"', '5'],
  ] as const) {
    t.throws(() => parseExposure(text.replace(from, to)), { name: 'ParseError' }, to)
  }
})
