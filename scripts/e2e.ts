import { once } from 'node:events'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Cluster } from '../e2e/cluster/namespaces/cluster.ts'
import type { ProxyMode } from '../e2e/cluster/namespaces/description.ts'
import { whyNoCluster } from '../e2e/cluster/requirements.ts'
import { up } from '../e2e/cluster/up.ts'
import type { NetworkChoice } from '../e2e/cluster/up.ts'
import { keepLogs } from './cluster-logs.ts'
import { writeTulleImage } from './image.ts'
import { ROOT } from './paths.ts'
import { ourFiles } from './source-files.ts'
import { runSuite } from './suite.ts'
import { renderTotals } from './tap-report.ts'
import type { Totals } from './tap-report.ts'

/** What the last run has measured. */
const FIGURES = join(ROOT, '.cache', 'e2e', 'figures.jsonl')

/** Tulle as it was built just now. */
const TULLE_IMAGE = join(ROOT, 'dist', 'tulle-image.tar')

interface Choices {
  readonly network: NetworkChoice
  readonly proxyMode: ProxyMode
  readonly isUpOnly: boolean
  readonly files: readonly string[]
}

/**
 * `npm run e2e [-- --network reference] [--proxy-mode iptables] [files]`: real Kubernetes in namespaces, the suite, down again.
 * `npm run e2e -- --up` stops after the first, and keeps the cluster until Ctrl-C.
 */
async function e2e({ network, proxyMode, isUpOnly, files }: Choices): Promise<Totals> {
  const reason = await whyNoCluster()
  if (reason !== undefined) {
    process.stderr.write(`SKIPPED e2e/suite: ${reason}\n`)
    return { passed: 0, failed: 0, skipped: 1 }
  }
  const startedAtMs = performance.now()
  const progress = (line: string) =>
    process.stderr.write(`e2e: ${((performance.now() - startedAtMs) / 1000).toFixed(1)} s: ${line}\n`)
  const imageArchives = network === 'tulle' ? [await writeTulleImage(TULLE_IMAGE)] : []
  const cluster = await up({ network, proxyMode, nodes: 3, imageArchives, progress })
  try {
    if (isUpOnly) return await untilInterrupted(cluster)
    // The suite is the host outside of the cluster.
    const within = ['nsenter', `--net=/proc/${cluster.description.outsidePid}/ns/net`, '--']
    const { descriptionFile } = cluster
    const { totals } = await runSuite({ files, descriptionFile, network, figuresFile: FIGURES, within })
    return totals
  } finally {
    await keepLogs(cluster)
    await cluster.stop()
    progress('the cluster is down')
  }
}

async function untilInterrupted(cluster: Cluster): Promise<Totals> {
  const { env, outsidePid, stateFolder, nodes } = cluster.description
  const outside = `nsenter --net=/proc/${outsidePid}/ns/net`
  process.stdout.write(
    [
      `export PATH=${env['PATH'] ?? ''} KUBECONFIG=${stateFolder}/admin.kubeconfig`,
      `alias k='${outside} kubectl'`,
      ...nodes.map(({ name, initPid }) => `alias ${name}='nsenter --target ${initPid} --all --wdns=/'`),
      'Ctrl-C takes it down.',
      '',
    ].join('\n'),
  )
  // A timer keeps us alive: signals do not.
  const alive = setInterval(() => {}, 60_000)
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
  clearInterval(alive)
  return { passed: 0, failed: 0, skipped: 0 }
}

function choicesOf(args: readonly string[]): Choices {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      network: { type: 'string', default: 'tulle' },
      'proxy-mode': { type: 'string', default: 'nftables' },
      up: { type: 'boolean', default: false },
    },
  })
  const network = oneOf('network', values.network, ['tulle', 'reference'] as const)
  const proxyMode = oneOf('proxy-mode', values['proxy-mode'], ['nftables', 'iptables'] as const)
  const files = positionals.length > 0 ? positionals : ourFiles('e2e/suite/**/*.e2e.ts')
  return { network, proxyMode, isUpOnly: values.up, files }
}

function oneOf<T extends string>(option: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find(each => each === value)
  if (found === undefined) throw new Error(`--${option} ${value}: want ${allowed.join(' or ')}`)
  return found
}

const totals = await e2e(choicesOf(process.argv.slice(2)))
process.stdout.write(`${renderTotals(totals)}\n`)
process.exitCode = totals.failed === 0 ? 0 : 1
