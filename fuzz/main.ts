import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startForTest } from '../ipamd/api/test-daemon.ts'
import { pluginCase } from './arbitraries.ts'
import { anySeed, runCampaign, type CampaignReport } from './campaign.ts'
import { runPluginCase } from './run-plugin-case.ts'
import { runSocketCase } from './run-socket-case.ts'
import { socketCase } from './socket-arbitraries.ts'

/** `npm run fuzz -- --cases 100000 [--seed N] [--only plugin|socket|executable] [--path P]` */
const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '20000' },
    seed: { type: 'string' },
    only: { type: 'string' },
    path: { type: 'string' },
  },
})
const seed = values.seed === undefined ? anySeed() : Number(values.seed)
const cases = Number(values.cases)
if (!Number.isSafeInteger(seed) || !Number.isSafeInteger(cases) || cases < 1) {
  throw new Error(`--cases ${values.cases} --seed ${values.seed}: want whole numbers, and at least one case`)
}
/** A request takes ten times as long as a run in memory, a process a hundred times. */
const SHARES = { plugin: 1, socket: 1 / 20, executable: 1 / 200 } as const
const names = Object.keys(SHARES)
if (values.only !== undefined && !names.includes(values.only)) {
  throw new Error(`--only ${values.only}: want ${names.join(', ')}`)
}

let hasFailed = false
for (const name of ['plugin', 'socket', 'executable'] as const) {
  if (values.only !== undefined && values.only !== name) continue
  const options = { cases: Math.ceil(cases * SHARES[name]), seed, path: values.path }
  process.stdout.write(`${name}: ${options.cases} cases, seed ${seed}\n`)
  const beganAtMs = performance.now()
  const failure = name === 'executable' ? runExecutables(options) : report(await campaignOf(name, options))
  process.stdout.write(`${name}: ${failure ?? 'nothing wrong'} (${Math.round(performance.now() - beganAtMs)} ms)\n`)
  hasFailed ||= failure !== undefined
}
process.stdout.write(hasFailed ? '0 passed, 1 failed\n' : '1 passed, 0 failed\n')
process.exitCode = hasFailed ? 1 : 0

interface Options {
  readonly cases: number
  readonly seed: number
  readonly path: string | undefined
}

async function campaignOf(name: 'plugin' | 'socket', options: Options): Promise<CampaignReport> {
  if (name === 'plugin') return await runCampaign({ name, cases: pluginCase, run: runPluginCase }, options)
  await using daemon = await startForTest()
  return await runCampaign({ name, cases: socketCase, run: each => runSocketCase(each, daemon) }, options)
}

function report({ outcomes, failure }: CampaignReport): string | undefined {
  process.stdout.write(`${outcomes.map(([outcome, times]) => `${times} × ${outcome}`).join(', ')}\n`)
  return failure
}

/** In a process of its own, which isolates itself: what runs there makes interfaces. */
function runExecutables({ cases, seed }: Options): string | undefined {
  const file = join(import.meta.dirname, '../e2e/netns/fuzz.netns.ts')
  // As many cases as were asked for take their time: the test has no timeout of its own.
  const env = { ...process.env, TAP_TIMEOUT: '0', TULLE_FUZZ_CASES: String(cases), TULLE_FUZZ_SEED: String(seed) }
  const { status, stdout } = spawnSync(process.execPath, [file], { env, encoding: 'utf8', timeout: 3_600_000 })
  return status === 0 ? undefined : `exit code ${status}\n${stdout}`
}
