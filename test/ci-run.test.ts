// What .ci/run makes of what its steps say. The steps themselves are played: a program called npm says what the test wants.
import { spawn } from 'node:child_process'
import { chmod, cp, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'

const SCRIPT = join(import.meta.dirname, '..', '.ci', 'run')
const LIMIT_MS = 20_000

interface Played {
  /** What a step prints, by its npm script. */
  readonly says: Readonly<Record<string, string>>
  readonly exitCodes?: Readonly<Record<string, number>>
  readonly steps?: readonly string[]
}

/** Runs .ci/run in `folder`. @returns its exit code and its lines. */
async function run(folder: string, { says, exitCodes = {}, steps = [] }: Played) {
  await mkdir(join(folder, '.ci'), { recursive: true })
  await mkdir(join(folder, 'bin'), { recursive: true })
  await cp(SCRIPT, join(folder, '.ci', 'run'))
  const cases = Object.entries(says).map(
    ([script, said]) => `'${script}') printf '%s\\n' '${said}'; exit ${exitCodes[script] ?? 0} ;;`,
  )
  const npm = join(folder, 'bin', 'npm')
  await writeFile(npm, `#!/bin/bash\n[[ $1 == run ]] && shift\ncase $1 in ${cases.join('\n')}\nesac\nexit 99\n`)
  await chmod(npm, 0o755)
  const env = { ...process.env, PATH: `${join(folder, 'bin')}:${process.env['PATH'] ?? ''}` }
  const child = spawn('bash', [join(folder, '.ci', 'run'), ...steps], { env, timeout: LIMIT_MS })
  const { promise, resolve } = Promise.withResolvers<number | null>()
  child.once('close', resolve)
  const [stdout, stderr, exitCode] = await Promise.all([text(child.stdout), text(child.stderr), promise])
  return { exitCode, lines: stdout.trim().split('\n'), last: stdout.trim().split('\n').at(-1), stderr }
}

const GREEN = {
  test: '10 passed, 0 failed',
  cri: '2 passed, 0 failed, 1 skipped',
  e2e: 'measured: a route: 0.05 s\n300 passed, 0 failed',
  'e2e:kind': '40 passed, 0 failed',
}

t.test('.ci/run adds what every step counts', async t => {
  const { exitCode, last } = await run(t.testdir(), { says: GREEN })
  t.equal(last, '352 passed, 0 failed, 1 skipped')
  t.equal(exitCode, 0)
})

t.test('.ci/run fails when a step fails, says what failed, and runs the others', async t => {
  const says = { ...GREEN, e2e: 'FAILED e2e/suite/pods.e2e.ts: a pod\n299 passed, 1 failed' }
  const { exitCode, last, lines } = await run(t.testdir(), { says, exitCodes: { e2e: 1 } })
  t.equal(last, '351 passed, 1 failed, 1 skipped')
  t.ok(lines.indexOf('FAILED e2e/suite/pods.e2e.ts: a pod', lines.indexOf('==> failed:')) > 0)
  t.equal(exitCode, 1)
})

t.test('.ci/run says what a machine cannot run and why, and does not fail for it', async t => {
  const skip = 'SKIPPED e2e/suite in kind: needs root'
  const { exitCode, last, lines } = await run(t.testdir(), {
    says: { ...GREEN, 'e2e:kind': `${skip}\n0 passed, 0 failed, 1 skipped` },
  })
  t.equal(last, '312 passed, 0 failed, 2 skipped')
  t.ok(lines.indexOf(skip, lines.indexOf('==> skipped:')) > 0)
  t.equal(exitCode, 0)
})

const BROKEN = [
  {
    name: 'ends without a count, as kind does when it does not come up',
    said: 'kind: no',
    exitCode: 1,
    last: '312 passed, 1 failed, 1 skipped',
  },
  { name: 'ends well without a count', said: 'done', exitCode: 0, last: '312 passed, 1 failed, 1 skipped' },
  { name: 'counts nothing', said: '0 passed, 0 failed', exitCode: 0, last: '312 passed, 1 failed, 1 skipped' },
  {
    name: 'counts no failure and fails',
    said: '40 passed, 0 failed',
    exitCode: 1,
    last: '352 passed, 1 failed, 1 skipped',
  },
]
for (const { name, said, exitCode: code, last: want } of BROKEN) {
  t.test(`.ci/run fails when a step ${name}`, async t => {
    const { exitCode, last } = await run(t.testdir(), {
      says: { ...GREEN, 'e2e:kind': said },
      exitCodes: { 'e2e:kind': code },
    })
    t.equal(last, want)
    t.equal(exitCode, 1)
  })
}

t.test('.ci/run STEP runs that step alone, and refuses one that does not exist', async t => {
  const one = await run(t.testdir(), { says: GREEN, steps: ['kind'] })
  t.equal(one.last, '40 passed, 0 failed')
  t.equal(one.exitCode, 0)
  const none = await run(t.testdir(), { says: GREEN, steps: ['knid'] })
  t.match(none.stderr, 'no step knid: want one of test cri e2e kind')
  t.equal(none.last, '0 passed, 1 failed')
  t.equal(none.exitCode, 2)
})
