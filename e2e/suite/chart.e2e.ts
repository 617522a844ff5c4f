// What helm makes of the chart, with values that people use, is something that the API server takes.
import t from 'tap'
import { renderChart } from '../parts/helm.ts'
import type { ChartValues } from '../parts/helm.ts'
import { kubectl } from './harness/kubectl.ts'
import { setUp } from './harness/setting.ts'

const CASES: readonly { readonly name: string; readonly values: ChartValues }[] = [
  { name: 'its defaults', values: {} },
  {
    name: 'k3s',
    values: {
      image: { repository: 'registry.example/tulle', tag: '1.0.0', pullPolicy: 'Always' },
      cniBinDir: '/var/lib/rancher/k3s/data/cni',
      cniConfDir: '/var/lib/rancher/k3s/agent/etc/cni/net.d',
    },
  },
  { name: 'a tunnel for everything', values: { routing: 'vxlan', mtu: 1400, ipMasq: false, cooldownSeconds: 0 } },
  {
    name: 'limits, and another port',
    values: {
      port: 19477,
      resources: { ipamd: { limits: { memory: '256Mi' } }, agent: { limits: { cpu: '500m', memory: '256Mi' } } },
    },
  },
]

/** What the chart has, once each. */
const OBJECTS = ['clusterrole', 'clusterrolebinding', 'configmap', 'daemonset', 'serviceaccount']

const { kubernetes, provider } = await setUp()

for (const { name, values } of CASES) {
  t.test(`the API server takes what the chart makes with the values for ${name}`, async t => {
    const said = await dryRun(await renderChart({ namespace: kubernetes.namespace, values }))
    t.strictSame(said.match(/^[a-z]+/gm)?.toSorted(), OBJECTS)
  })
}

t.test('the API server would tell of a field that there is not', async t => {
  const text = await renderChart({ namespace: kubernetes.namespace })
  await t.rejects(dryRun(text.replace('hostPID:', 'hostPIDs:')), /unknown field.*hostPIDs|hostPIDs.*not declared/)
})

/** Has the API server look at everything, and store nothing. @returns a line for each object. @throws {CommandError} */
async function dryRun(manifests: string): Promise<string> {
  // Server-side, because some of the objects are there already: Tulle is installed.
  const options = ['--dry-run=server', '--validate=strict', '--server-side', '--force-conflicts']
  return await kubectl(provider, ['apply', ...options, '-f', '-'], { stdin: manifests })
}
