import t from 'tap'
import { hostProblems, type HostFacts } from './host-problems.ts'

const CLEAN: HostFacts = {
  unixSockets: ['/run/containerd/containerd.sock'],
  nftChains: undefined,
  legacyForward: undefined,
  hasNetworkManagerDropIn: false,
  hasNetworkdDropIn: false,
}

interface FakeChain {
  readonly table: string
  readonly name: string
  readonly family?: string
  readonly hook?: string
  readonly policy?: string
}

function chains(...list: readonly FakeChain[]): string {
  const objects = list.map(chain => ({ chain: { family: 'ip', ...chain } }))
  return JSON.stringify({ nftables: [{ metainfo: { version: '1.0.6' } }, ...objects] })
}

const DROP = { table: 'filter', name: 'FORWARD', hook: 'forward', policy: 'drop' }

const cases = [
  { name: 'a clean node', facts: CLEAN, want: [] },
  { name: 'a policy of drop', facts: { nftChains: chains(DROP) }, want: ['forward-drop'] },
  {
    name: "Docker's policy of drop",
    facts: { nftChains: chains(DROP, { table: 'filter', name: 'DOCKER-USER' }) },
    want: ['docker-forward-drop'],
  },
  {
    name: 'both families',
    facts: { nftChains: chains(DROP, { ...DROP, family: 'ip6' }) },
    want: ['forward-drop', 'forward-drop'],
  },
  { name: 'a policy of accept', facts: { nftChains: chains({ ...DROP, policy: 'accept' }) }, want: [] },
  { name: 'a drop at another hook', facts: { nftChains: chains({ ...DROP, hook: 'input' }) }, want: [] },
  { name: 'a drop of bridged frames', facts: { nftChains: chains({ ...DROP, family: 'bridge' }) }, want: [] },
  { name: 'our own table', facts: { nftChains: chains({ ...DROP, table: 'tulle', family: 'inet' }) }, want: [] },
  {
    name: 'firewalld',
    facts: { nftChains: chains({ ...DROP, table: 'firewalld', family: 'inet', policy: 'accept' }) },
    want: ['firewalld'],
  },
  { name: 'legacy iptables', facts: { legacyForward: '-P FORWARD DROP\n-A FORWARD -j X' }, want: ['forward-drop'] },
  { name: 'legacy iptables that accepts', facts: { legacyForward: '-P FORWARD ACCEPT' }, want: [] },
  { name: 'an nft that says something else', facts: { nftChains: '{"nftables": 4}' }, want: [] },
  { name: 'an nft that says no JSON', facts: { nftChains: 'chains' }, want: [] },
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
] as const

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
