import t from 'tap'
import { nativeTool } from '../native-tools.ts'
import type { Job, ProgramCall } from './job.ts'
import { runJob } from './run-job.ts'

// What the measurements stand on: the runner executes chains as a runtime does, and its figures are those of the chains.

const runner = await nativeTool('runner')
const PATH = `PATH=${process.env['PATH'] ?? ''}`

function shell(script: string, stdin: ProgramCall['stdin'] = ''): ProgramCall {
  return { executable: '/bin/sh', env: [PATH], stdin: typeof stdin === 'string' ? `${script}\n${stdin}` : stdin }
}

const job = (chains: Job['chains'], more: Partial<Job> = {}): Job => ({
  isAtOnce: false,
  timeoutSeconds: 30,
  chains,
  ...more,
})

t.test('runJob() hands the output of one program to the next, byte for byte', async t => {
  const text = '{"ünï":"\\u0000"}\n'.repeat(5_000)
  const cat = { executable: '/bin/cat', env: [] }
  const { chains } = await runJob(
    runner,
    job([
      [
        { ...cat, stdin: text },
        { ...cat, stdin: { before: '<', after: '>' } },
      ],
    ]),
  )
  t.strictSame(
    chains[0]?.calls.map(({ exitCode, stdout }) => [exitCode, stdout]),
    [
      [0, text],
      [0, `<${text}>`],
    ],
  )
})

t.test('runJob() ends a chain at the first program that fails', async t => {
  const { chains } = await runJob(runner, job([[shell('exit 3'), shell('echo never')], [shell('echo $0 | wc -l')]]))
  t.strictSame(
    chains.map(({ calls }) => calls.map(({ exitCode }) => exitCode)),
    [[3], [0]],
  )
})

t.test('runJob() gives a program the environment of the job and nothing else', async t => {
  const { chains } = await runJob(runner, job([[{ executable: '/usr/bin/env', env: ['A=1', 'B=x y'], stdin: '' }]]))
  t.equal(chains[0]?.calls[0]?.stdout, 'A=1\nB=x y\n')
})

t.test('runJob() runs chains one after another, or all at once', async t => {
  // Each writes when it began and when it ended.
  const script = 'date +%s%N; sleep 0.2; date +%s%N'
  const chains = [1, 2, 3].map(() => [shell(script)])
  const spans = async (isAtOnce: boolean) =>
    (await runJob(runner, job(chains, { isAtOnce }))).chains
      .map(({ calls }) => (calls[0]?.stdout ?? '').trim().split('\n').map(BigInt))
      .toSorted(([a = 0n], [b = 0n]) => (a < b ? -1 : 1))
  const overlap = (pairs: readonly (readonly bigint[])[]) =>
    pairs.slice(1).every(([began = 0n], index) => began < (pairs[index]?.[1] ?? 0n))
  t.equal(overlap(await spans(true)), true)
  t.equal(overlap(await spans(false)), false)
})

t.test('runJob() counts the processor time of the whole tree, and of no other', async t => {
  const busy = 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'
  const report = await runJob(runner, job([[shell(`sh -c '${busy}'`)], [shell('sleep 0.3')]]))
  const [worked, slept] = report.chains
  t.ok((worked?.cpuMs ?? 0) > 50, `a grandchild that counts to 300,000: ${worked?.cpuMs} ms`)
  t.ok((slept?.cpuMs ?? Infinity) < 50, `one that sleeps: ${slept?.cpuMs} ms`)
  t.ok((slept?.wallMs ?? 0) >= 300, 'the wall time goes on')
  t.ok(report.wholeMs >= 300)
})

t.test('runJob() counts what a daemon uses meanwhile', async t => {
  const work = setInterval(() => {
    for (const began = process.cpuUsage(); process.cpuUsage(began).user < 20_000;);
  }, 30)
  const { daemonCpuMs } = await runJob(runner, job([[shell('sleep 0.3')]], { daemonPid: process.pid }))
  clearInterval(work)
  t.ok(daemonCpuMs > 40 && daemonCpuMs < 5_000, `this process: ${daemonCpuMs} ms`)
})

t.test('runJob() kills what hangs, also where it has a child that holds its output', async t => {
  const hung = job([[shell('sleep 60 & wait')], [shell('echo done')]], { isAtOnce: true, timeoutSeconds: 1 })
  const { chains, wholeMs } = await runJob(runner, hung)
  t.equal(chains[0]?.calls[0]?.exitCode, -1)
  t.equal(chains[1]?.calls[0]?.stdout, 'done\n')
  t.ok(wholeMs < 20_000)
})

t.test('runJob() says which program there is not', async t => {
  await t.rejects(runJob(runner, job([[{ executable: '/nowhere/x', env: [], stdin: '' }]])), /\/nowhere\/x/)
})
