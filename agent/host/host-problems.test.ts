import t from 'tap'
import { hostProblems, type HostFacts } from './host-problems.ts'

const CLEAN: HostFacts = {
  unixSockets: ['/run/containerd/containerd.sock'],
  nftChains: [],
  legacyForward: undefined,
  hasNetworkManagerDropIn: false,
  hasNetworkdDropIn: false,
}

const DROP = { family: 'ip', table: 'filter', name: 'FORWARD', base: { hook: 'forward', policy: 'drop' } } as const
const ACCEPT = { ...DROP, base: { hook: 'forward', policy: 'accept' } } as const
const DOCKER = { family: 'ip', table: 'filter', name: 'DOCKER-USER' }

interface Case {
  readonly name: string
  readonly facts: Partial<HostFacts>
  readonly want: readonly string[]
}

const cases: readonly Case[] = [
  { name: 'a clean node', facts: CLEAN, want: [] },
  { name: 'a policy of drop', facts: { nftChains: [DROP] }, want: ['forward-drop'] },
  {
    name: "Docker's policy of drop",
    facts: { nftChains: [DROP, DOCKER] },
    want: ['docker-forward-drop'],
  },
  {
    name: 'both families',
    facts: { nftChains: [DROP, { ...DROP, family: 'ip6' }] },
    want: ['forward-drop', 'forward-drop'],
  },
  { name: 'a policy of accept', facts: { nftChains: [ACCEPT] }, want: [] },
  {
    name: 'a drop at another hook',
    facts: { nftChains: [{ ...DROP, base: { hook: 'input', policy: 'drop' } }] },
    want: [],
  },
  { name: 'a drop of bridged frames', facts: { nftChains: [{ ...DROP, family: 'bridge' }] }, want: [] },
  { name: 'our own table', facts: { nftChains: [{ ...DROP, table: 'tulle', family: 'inet' }] }, want: [] },
  {
    name: 'firewalld',
    facts: { nftChains: [{ ...ACCEPT, table: 'firewalld', family: 'inet' }] },
    want: ['firewalld'],
  },
  { name: 'legacy iptables', facts: { legacyForward: '-P FORWARD DROP\n-A FORWARD -j X' }, want: ['forward-drop'] },
  { name: 'legacy iptables that accepts', facts: { legacyForward: '-P FORWARD ACCEPT' }, want: [] },
  { name: 'NetworkManager', facts: { unixSockets: ['/run/NetworkManager/private'] }, want: ['network-manager'] },
  {
    name: 'NetworkManager that was told',
    facts: { unixSockets: ['/run/NetworkManager/private'], hasNetworkManagerDropIn: true },
    want: [],
  },
  {
    name: 'systemd-networkd',
    facts: { unixSockets: ['/run/systemd/netif/io.systemd.Network'] },
    want: ['systemd-networkd'],
  },
  {
    name: 'systemd-networkd that was told',
    facts: { unixSockets: ['/run/systemd/netif/io.systemd.Network'], hasNetworkdDropIn: true },
    want: [],
  },
]

for (const { name, facts, want } of cases) {
  t.test(`hostProblems() ${name}`, t => {
    const problems = hostProblems({ ...CLEAN, ...facts })
    t.strictSame(
      problems.map(problem => problem.name),
      want,
    )
    for (const { problem, cure } of problems) t.ok(problem.length > 20 && cure.length > 20)
    t.end()
  })
}
