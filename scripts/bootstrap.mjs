// Brings a fresh clone to the point where a step can run, then runs it: `node scripts/bootstrap.mjs <step> [arguments]`.
//
// It is plain JavaScript without dependencies, because it runs before anything is installed, on whatever Node the machine
// has (18 or newer). The step itself runs on the Node that package-lock.json pins.
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ensureDebianPackages } from './bootstrap/debian-packages.mjs'
import { ensureNodeModules, ensureTapIsBuilt, pinnedNode } from './bootstrap/node-modules.mjs'
import { exitCodeOf } from './bootstrap/run.mjs'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))

/** Node refuses to start without libatomic.so.1 (since 25), so that every step needs it. */
const RUN = ['libatomic1']
const BUILD = [...RUN, 'gcc', 'libc6-dev', 'binutils', 'patchelf']
const NAMESPACES = ['iproute2', 'iputils-ping', 'nftables', 'util-linux']
const TEST = [...BUILD, ...NAMESPACES, 'strace', 'tcpdump']

/**
 * What each step needs and runs.
 *
 * @type {Readonly<Record<string, { packages: readonly string[], scripts: readonly string[], tap?: boolean }>>}
 */
const STEPS = {
  setup: { packages: TEST, scripts: [], tap: true },
  build: { packages: BUILD, scripts: ['scripts/build.ts'] },
  lint: { packages: RUN, scripts: ['scripts/lint.ts'] },
  test: { packages: TEST, scripts: ['scripts/test.ts'], tap: true },
  cri: { packages: TEST, scripts: ['scripts/cri.ts'], tap: true },
  conformance: { packages: [...RUN, ...NAMESPACES], scripts: ['conformance/main.ts'] },
  e2e: { packages: [...TEST, 'openssl'], scripts: ['scripts/build.ts', 'scripts/e2e.ts'], tap: true },
  'e2e:conformance': { packages: [...TEST, 'openssl'], scripts: ['scripts/build.ts', 'scripts/e2e-conformance.ts'] },
  'conformance:peers': { packages: TEST, scripts: ['scripts/build.ts', 'conformance/peers/main.ts'] },
  'e2e:kind': { packages: [...TEST, 'openssl'], scripts: ['scripts/build.ts', 'scripts/e2e-kind.ts'], tap: true },
  bench: { packages: TEST, scripts: ['scripts/build.ts', 'bench/attach.ts'] },
  'bench:agent': { packages: TEST, scripts: ['scripts/build.ts', 'bench/agent.ts'] },
  'bench:cross-node': { packages: TEST, scripts: ['scripts/build.ts', 'bench/cross-node.ts'] },
  'bench:pods': { packages: [...TEST, 'openssl'], scripts: ['scripts/image.ts', 'bench/pods.ts'] },
  'bench:ipam': { packages: TEST, scripts: ['scripts/build.ts', 'bench/ipam.ts'] },
  fuzz: { packages: TEST, scripts: ['scripts/build.ts', 'fuzz/main.ts'], tap: true },
  image: { packages: BUILD, scripts: ['scripts/image.ts'] },
  quickstart: { packages: [...BUILD, ...NAMESPACES], scripts: ['scripts/build.ts', 'scripts/quickstart.ts'] },
}

/**
 * Runs one step. Arguments go to the step's last script: `npm test -- lib/net` gives `lib/net` to test.ts.
 *
 * @param {string | undefined} name
 * @param {readonly string[]} args
 * @returns {Promise<number>} the exit code.
 */
async function bootstrap(name, args) {
  const step = name !== undefined && Object.hasOwn(STEPS, name) ? STEPS[name] : undefined
  if (step === undefined) {
    process.stderr.write(`usage: node scripts/bootstrap.mjs ${Object.keys(STEPS).join('|')} [arguments]\n`)
    return 2
  }
  await ensureDebianPackages(step.packages)
  await ensureNodeModules(ROOT)
  if (step.tap === true) await ensureTapIsBuilt(ROOT)
  const { node, env } = pinnedNode(ROOT)
  for (const [index, script] of step.scripts.entries()) {
    const isLast = index === step.scripts.length - 1
    const exitCode = await exitCodeOf([node, join(ROOT, script), ...(isLast ? args : [])], { env })
    // It has said why, and its last line has to stay the last one.
    if (exitCode !== 0) return exitCode
  }
  return 0
}

try {
  process.exitCode = await bootstrap(process.argv[2], process.argv.slice(3))
} catch (failure) {
  if (!(failure instanceof Error)) throw failure
  process.stderr.write(`bootstrap: ${failure.message}\n`)
  process.exitCode = 1
}
