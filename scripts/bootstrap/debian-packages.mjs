import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { CommandFailed, run } from './run.mjs'

const execFileText = promisify(execFile)

/**
 * Installs those of `packages` that are missing, and nothing else.
 *
 * @param {readonly string[]} packages names in Debian.
 * @throws {Error} naming what is missing, when this cannot install it: not a Debian machine, or not root.
 */
export async function ensureDebianPackages(packages) {
  const missing = await missingPackages(packages)
  if (missing === undefined) {
    // Another distribution: it has its own names for these, and the steps say what they do not find.
    process.stderr.write(`bootstrap: no dpkg here; wanted are what Debian calls ${packages.join(', ')}\n`)
    return
  }
  if (missing.length === 0) return
  if (process.getuid?.() !== 0) {
    throw new Error(`missing packages, and only root can install them: apt-get install ${missing.join(' ')}`)
  }
  process.stderr.write(`bootstrap: apt-get install ${missing.join(' ')}\n`)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  if (!(await haveCandidates(missing))) await run(['apt-get', 'update', '-q'], { env })
  const install = ['apt-get', 'install', '-y', '-q', '--no-install-recommends', ...missing]
  try {
    await run(install, { env })
  } catch (failure) {
    if (!(failure instanceof CommandFailed)) throw failure
    // Lists older than the archive name files that it has dropped: fresh ones cure that, and the second failure counts.
    await run(['apt-get', 'update', '-q'], { env })
    await run(install, { env })
  }
}

/**
 * @param {readonly string[]} packages
 * @returns {Promise<string[] | undefined>} undefined where there is no dpkg.
 */
async function missingPackages(packages) {
  const format = '${Package} ${db:Status-Status}\\n'
  const { stdout, stderr, code } = await output(['dpkg-query', '--show', `--showformat=${format}`, ...packages])
  if (code === 'ENOENT') return undefined
  // 1 says that some of the packages are unknown, which is what was asked.
  if (code !== 0 && code !== 1) throw new Error(`dpkg-query: exit code ${code}: ${stderr.trim()}`)
  const installed = new Set(
    stdout
      .split('\n')
      .filter(line => line.endsWith(' installed'))
      .map(line => line.split(' ')[0]),
  )
  return packages.filter(name => !installed.has(name))
}

/** @param {readonly string[]} packages */
async function haveCandidates(packages) {
  const { stdout, code } = await output(['apt-cache', 'policy', ...packages])
  const candidates = stdout.split('\n').filter(line => /^ {2}Candidate: (?!\(none\))/.test(line))
  return code === 0 && candidates.length === packages.length
}

/**
 * @param {readonly string[]} command
 * @returns {Promise<{ stdout: string, stderr: string, code: number | string }>}
 */
async function output([file, ...args]) {
  try {
    return { ...(await execFileText(file, args, { env: { ...process.env, LC_ALL: 'C' } })), code: 0 }
  } catch (failure) {
    if (!(failure instanceof Error) || !('code' in failure)) throw failure
    return { stdout: failure.stdout ?? '', stderr: failure.stderr ?? '', code: failure.code }
  }
}
