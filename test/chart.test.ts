import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { parseConfig as parseAgentConfig } from '../agent/config.ts'
import { GoMissing } from '../e2e/parts/go.ts'
import { lintChart, renderChart, type ChartValues } from '../e2e/parts/helm.ts'
import { parseConfig as parseIpamdConfig } from '../ipamd/config.ts'
import { ROOT } from '../scripts/paths.ts'

/** An object of Kubernetes, as far as it is looked at here. */
interface KubernetesObject {
  readonly kind: string
  readonly metadata: { readonly name: string; readonly namespace?: string }
  readonly data?: Readonly<Record<string, string>>
  readonly spec?: { readonly template: PodTemplate }
}

interface PodTemplate {
  readonly metadata: { annotations?: Record<string, string> }
  readonly spec: { readonly containers: readonly Container[]; readonly initContainers: readonly Container[] }
}

interface Container {
  readonly name: string
  readonly image: string
  readonly imagePullPolicy: string
  readonly resources?: object
}

/** Where deploy/tulle.yaml puts it. */
const NAMESPACE = 'kube-system'
/** The chart has pods start anew when the configuration changes; in plain manifests nobody could keep it right. */
const CHECKSUM = 'checksum/configuration'

/** A value that no chart would take by mistake, each refused with its own name. */
const REFUSED: readonly { readonly name: string; readonly values: ChartValues; readonly says: RegExp }[] = [
  { name: 'a routing mode that there is not', values: { routing: 'bgp' }, says: /routing/ },
  { name: 'a key that there is not', values: { colour: 'red' }, says: /colour/ },
  { name: 'an MTU that no link has', values: { mtu: 67 }, says: /mtu/ },
  { name: 'a folder that is relative', values: { cniBinDir: 'opt/cni/bin' }, says: /cniBinDir/ },
  { name: 'a tag that YAML takes for a number', values: { image: { tag: 1.3 } }, says: /tag/ },
]

const missing = await lintChart({ namespace: NAMESPACE }).then(
  () => undefined,
  (cause: unknown) => {
    if (cause instanceof GoMissing) return cause
    throw cause
  },
)
if (missing === undefined) testChart()
else t.plan(0, `helm cannot be built here: ${missing.message}`)

function testChart(): void {
  t.test('the chart with its defaults is deploy/tulle.yaml, object by object', async t => {
    const rendered = byName(await render({}))
    const manifests = byName(parse(readFileSync(join(ROOT, 'deploy', 'tulle.yaml'), 'utf8')))
    t.strictSame([...rendered.keys()].toSorted(), [...manifests.keys()].toSorted())
    const checksum = takeChecksum(rendered.get('DaemonSet tulle'))
    t.match(checksum, /^[0-9a-f]{64}$/)
    for (const [name, object] of manifests) t.strictSame(rendered.get(name), object, name)
  })

  t.test('a change of the configuration is a change of the pods', async t => {
    const before = takeChecksum(byName(await render({})).get('DaemonSet tulle'))
    t.not(takeChecksum(byName(await render({ ipMasq: false })).get('DaemonSet tulle')), before)
    t.equal(takeChecksum(byName(await render({ cniBinDir: '/other' })).get('DaemonSet tulle')), before)
  })

  t.test('every value reaches what it is for, and the programs accept it', async t => {
    const objects = await render({
      image: { repository: 'registry.example:5000/net/tulle', tag: '1.30', pullPolicy: 'Always' },
      cniBinDir: '/var/lib/rancher/k3s/data/cni',
      cniConfDir: '/a folder/with: colons',
      routing: 'vxlan',
      mtu: 1400,
      ipMasq: false,
      cooldownSeconds: 5,
      port: 19477,
      resources: { ipamd: { limits: { memory: '1Gi' } }, agent: { requests: { cpu: '1' } } },
    })
    const config = byName(objects).get('ConfigMap tulle')?.data ?? {}
    t.match(parseIpamdConfig(config['ipamd.json'] ?? '', 'node-1').pools, [{ cooldownMs: 5000 }])
    t.match(parseAgentConfig(config['agent.json'] ?? ''), { routing: { mode: 'vxlan' }, listen: { port: 19477 } })
    t.match(JSON.parse(config['10-tulle.conflist'] ?? ''), { plugins: [{ mtu: 1400, ipMasq: false }] })
    const template = byName(objects).get('DaemonSet tulle')?.spec?.template
    const { containers = [], initContainers = [] } = template?.spec ?? {}
    for (const { name, image, imagePullPolicy } of [...initContainers, ...containers]) {
      t.strictSame([image, imagePullPolicy], ['registry.example:5000/net/tulle:1.30', 'Always'], name)
    }
    t.match(containers, [
      { name: 'ipamd', resources: { requests: { cpu: '20m' }, limits: { memory: '1Gi' } } },
      { name: 'agent', resources: { requests: { cpu: '1', memory: '60Mi' } } },
    ])
    const text = JSON.stringify(template)
    t.match(text, '"hostPath":{"path":"/var/lib/rancher/k3s/data/cni"')
    t.match(text, '"hostPath":{"path":"/a folder/with: colons"')
    t.equal(text.match(/"port":19477/g)?.length, 2, 'both probes of the agent')
  })

  t.test('everything with a namespace is in that of the release, and the binding names it', async t => {
    const objects = parse(await renderChart({ namespace: 'network' }))
    const namespaces = new Set(objects.map(({ metadata }) => metadata.namespace))
    t.strictSame(namespaces, new Set(['network', undefined]))
    t.match(byName(objects).get('ClusterRoleBinding tulle-agent'), { subjects: [{ namespace: 'network' }] })
  })

  for (const { name, values, says } of REFUSED) {
    t.test(`the chart refuses ${name}`, async t => {
      await t.rejects(renderChart({ namespace: NAMESPACE, values }), { message: says })
    })
  }
}

async function render(values: ChartValues): Promise<readonly KubernetesObject[]> {
  return parse(await renderChart({ namespace: NAMESPACE, values }))
}

function parse(text: string): readonly KubernetesObject[] {
  return parseAllDocuments(text).map(document => {
    if (document.errors.length > 0) throw new AggregateError(document.errors)
    return document.toJS() as KubernetesObject
  })
}

function byName(objects: readonly KubernetesObject[]): ReadonlyMap<string, KubernetesObject> {
  return new Map(objects.map(object => [`${object.kind} ${object.metadata.name}`, object]))
}

/** Takes the annotation away: without it, the template is that of the plain manifests. */
function takeChecksum(daemonSet: KubernetesObject | undefined): string | undefined {
  const metadata = daemonSet?.spec?.template.metadata
  const checksum = metadata?.annotations?.[CHECKSUM]
  if (metadata !== undefined) delete metadata.annotations
  return checksum
}
