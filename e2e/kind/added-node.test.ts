import t from 'tap'
import { configurationFor, nextWorkerName } from './added-node.ts'

t.test('nextWorkerName() goes on where kind stopped', async t => {
  const cases = [
    { names: ['tulle-control-plane', 'tulle-worker', 'tulle-worker2'], want: 'tulle-worker3' },
    { names: ['tulle-control-plane', 'tulle-worker'], want: 'tulle-worker2' },
    { names: ['tulle-control-plane'], want: 'tulle-worker' },
    // One that was added goes first: its name is free again, and no other's.
    { names: ['tulle-worker', 'tulle-worker2', 'tulle-worker10'], want: 'tulle-worker11' },
  ]
  for (const { names, want } of cases) t.equal(nextWorkerName(names, 'tulle'), want, names.join(' '))
})

t.test(
  'configurationFor() changes the name and the addresses of the node, and nothing that looks like them',
  async t => {
    const from = { name: 'tulle-worker', addresses: ['172.18.0.2', 'fc00:f853:ccd:e793::2'] }
    const to = { name: 'tulle-worker3', addresses: ['172.18.0.5', 'fc00:f853:ccd:e793::5'] }
    const text = `
discovery:
  bootstrapToken:
    apiServerEndpoint: tulle-control-plane:6443
localAPIEndpoint:
  advertiseAddress: 172.18.0.2
nodeRegistration:
  criSocket: unix:///run/containerd/containerd.sock
  kubeletExtraArgs:
  - name: node-ip
    value: 172.18.0.2,fc00:f853:ccd:e793::2
  - name: provider-id
    value: kind://docker/tulle/tulle-worker
  - name: other
    value: tulle-worker2,172.18.0.20,fc00:f853:ccd:e793::21
`
    t.equal(
      configurationFor(text, from, to),
      `
discovery:
  bootstrapToken:
    apiServerEndpoint: tulle-control-plane:6443
localAPIEndpoint:
  advertiseAddress: 172.18.0.5
nodeRegistration:
  criSocket: unix:///run/containerd/containerd.sock
  kubeletExtraArgs:
  - name: node-ip
    value: 172.18.0.5,fc00:f853:ccd:e793::5
  - name: provider-id
    value: kind://docker/tulle/tulle-worker3
  - name: other
    value: tulle-worker2,172.18.0.20,fc00:f853:ccd:e793::21
`,
    )
  },
)

t.test('configurationFor() refuses a node of other families', async t => {
  const from = { name: 'a', addresses: ['172.18.0.2', 'fc00::2'] }
  t.throws(() => configurationFor('', from, { name: 'b', addresses: ['172.18.0.5'] }), /want the families/)
})
