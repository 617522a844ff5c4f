import { spawn } from 'node:child_process'
import { decodeReport, encodeJob, type Job, type JobReport } from './job.ts'

/** The runner kills what it started by then; if it is stuck itself, it is killed after this much more. */
const GRACE_MS = 20_000
const MAX_COMPLAINT = 2_000

/** Has the runner do `job`. @throws {Error} with its words and those of the programs, when it fails. */
export function runJob(runner: string, job: Job): Promise<JobReport> {
  const { promise, resolve, reject } = Promise.withResolvers<JobReport>()
  const child = spawn(runner, [], { stdio: ['pipe', 'pipe', 'pipe'], timeout: job.timeoutSeconds * 1000 + GRACE_MS })
  const report: Buffer[] = []
  let complaint = ''
  child.stdout.on('data', (chunk: Buffer) => report.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString('utf8')).slice(-MAX_COMPLAINT)))
  child.on('error', reject)
  child.stdin.on('error', reject)
  child.stdin.end(encodeJob(job))
  child.on('close', (exitCode, signal) => {
    if (exitCode !== 0) return reject(new Error(`runner: ${signal ?? `exit code ${exitCode}`}: ${complaint}`))
    try {
      resolve(decodeReport(Buffer.concat(report), job.chains.length))
    } catch (cause) {
      reject(cause)
    }
  })
  return promise
}
