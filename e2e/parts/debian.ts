import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cached, cacheFolder } from './cache.ts'
import { CommandError, runCommand } from './command.ts'
import { outside } from './outside.ts'

/** apt-get waits at most this long for the network in one call. */
const APT_TIMEOUT_MS = 180_000

/** Quiet, patient with a slow mirror, and without the `_apt` user, who may not write into a cache folder under /root. */
const APT_OPTIONS = ['-q', '-o', 'APT::Sandbox::User=root', '-o', 'Acquire::Retries=3']

/** For releases other than the machine's own. */
const ARCHIVE = 'http://deb.debian.org/debian'
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'

export interface DebianPartsOptions {
  /** A release of Debian other than the machine's own, such as `trixie`. */
  readonly suite?: string
  /** Where unpacked packages are kept; `${XDG_CACHE_HOME:-~/.cache}/tulle` when absent. */
  readonly cacheFolder?: string
}

/** A Debian package that could not be had. The message names it. */
export class DebianPartsError extends Error {
  override readonly name = 'DebianPartsError'
}

interface Package {
  readonly name: string
  /** The version that apt would install now. */
  readonly version: string
}

/**
 * Unpacks Debian packages into one folder and returns that folder, a merged root: `<folder>/usr/sbin/…`.
 *
 * Nothing is installed: no maintainer script runs, no service starts, no alternative is set (Debian's iptables package, for
 * one, holds `iptables-nft` and no `iptables`), and dependencies are not followed: name every package that is needed.
 * The folder is kept in the cache under the versions that apt would install now, so a second call costs two executions of
 * apt-cache and no network. `apt-get update` runs only when apt does not know a package or cannot download it.
 *
 * @throws {DebianPartsError} naming the package that is unknown or cannot be downloaded.
 */
export async function debianParts(packages: readonly string[], options: DebianPartsOptions = {}): Promise<string> {
  const cache = options.cacheFolder ?? cacheFolder()
  const names = [...new Set(packages)].toSorted()
  names.forEach(assertPackageName)
  const apt: Apt = { cache, options: [...APT_OPTIONS, ...(await suiteOptions(options.suite, cache))] }
  try {
    return await unpacked(await candidates(names, apt), apt)
  } catch (cause) {
    if (!(cause instanceof DebianPartsError)) throw cause
    // Either apt has no lists yet (a fresh machine) or the lists name a version that the archive has replaced since.
    await updateLists(apt, cause)
    return await unpacked(await candidates(names, apt), apt)
  }
}

interface Apt {
  readonly cache: string
  readonly options: readonly string[]
}

/** Lists of their own for another release: what the machine would install stays as it is. */
async function suiteOptions(suite: string | undefined, cache: string): Promise<readonly string[]> {
  if (suite === undefined) return []
  assertPackageName(suite)
  const folder = join(cache, 'apt', suite)
  for (const name of ['lists/partial', 'cache/archives/partial']) await mkdir(join(folder, name), { recursive: true })
  const sources = join(folder, 'sources.list')
  await writeFile(sources, `deb [signed-by=${KEYRING}] ${ARCHIVE} ${suite} main\n`)
  const settings = {
    'Dir::Etc::sourcelist': sources,
    'Dir::Etc::sourceparts': '-',
    'Dir::State::lists': join(folder, 'lists'),
    'Dir::State::status': '/dev/null',
    'Dir::Cache': join(folder, 'cache'),
  }
  return Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`])
}

/** @throws {DebianPartsError} listing every package without a candidate. */
async function candidates(names: readonly string[], { options }: Apt): Promise<readonly Package[]> {
  const policy = await runCommand(outside(['apt-cache', ...options, 'policy', ...names]), { env: aptEnvironment() })
  const versions = parsePolicy(policy)
  const known: Package[] = []
  const unknown: string[] = []
  for (const name of names) {
    const version = versions.get(name)
    if (version === undefined) unknown.push(name)
    else known.push({ name, version })
  }
  if (unknown.length === 0) return known
  throw new DebianPartsError(
    `apt has no candidate for ${unknown.join(', ')}: want Debian package names of this release`,
  )
}

/** Reads `apt-cache policy`: package name → candidate version, without the packages that have none. */
function parsePolicy(policy: string): ReadonlyMap<string, string> {
  const versions = new Map<string, string>()
  let name: string | undefined
  for (const line of policy.split('\n')) {
    const heading = /^(\S+):$/.exec(line)
    if (heading) name = heading[1]
    const version = /^ {2}Candidate: (\S+)$/.exec(line)?.[1]
    if (name !== undefined && version !== undefined && version !== '(none)') versions.set(name, version)
  }
  return versions
}

async function unpacked(packages: readonly Package[], apt: Apt): Promise<string> {
  const list = packages.map(({ name, version }) => `${name}=${version}\n`).join('')
  // The architecture is apt's own: a cache folder may be shared by machines (a CI cache) but not by architectures.
  const architecture = (await runCommand(['dpkg', '--print-architecture'])).trim()
  const key = createHash('sha256').update(`${architecture}\n${list}`).digest('hex').slice(0, 16)
  const folder = await cached({ kind: 'debian', key, cacheFolder: apt.cache }, async temporary => {
    const root = join(temporary, 'root')
    await mkdir(root)
    await unpack(packages, root, apt)
    await writeFile(join(temporary, 'packages'), list)
  })
  return join(folder, 'root')
}

/** One apt-get for all of them: reading the lists costs it more than a small package does. */
async function unpack(packages: readonly Package[], root: string, { options }: Apt): Promise<void> {
  const wanted = packages.map(({ name, version }) => `${name}=${version}`)
  const downloads = await mkdtemp(`${root}-download-`)
  try {
    await runCommand(outside(['apt-get', ...options, 'download', ...wanted], downloads), {
      cwd: downloads,
      env: aptEnvironment(),
      timeoutMs: APT_TIMEOUT_MS,
    })
    const files = (await readdir(downloads)).filter(file => file.endsWith('.deb')).toSorted()
    if (files.length !== wanted.length)
      throw new Error(`apt-get download left ${files.length} .deb files, want ${wanted.length}`)
    for (const file of files) await runCommand(['dpkg', '-x', join(downloads, file), root])
  } catch (cause) {
    // apt-get names the package that it cannot get.
    throw new DebianPartsError(`Cannot get the Debian packages ${wanted.join(', ')}: ${messageOf(cause)}`, { cause })
  } finally {
    await rm(downloads, { recursive: true, force: true })
  }
}

/**
 * Runs `apt-get update`, one at a time on this machine as far as we are concerned: apt refuses a second one.
 *
 * @throws {DebianPartsError} with `reason`, which is why it was needed, in its message.
 */
async function updateLists({ cache, options }: Apt, reason: DebianPartsError): Promise<void> {
  await mkdir(cache, { recursive: true })
  const lock = join(cache, 'apt-update.lock')
  try {
    await runCommand(outside(['flock', '--timeout', '170', lock, 'apt-get', ...options, 'update']), {
      env: aptEnvironment(),
      timeoutMs: APT_TIMEOUT_MS,
    })
  } catch (cause) {
    if (!(cause instanceof CommandError)) throw cause
    throw new DebianPartsError(`${reason.message}; and apt-get update (which needs root) failed: ${cause.message}`, {
      cause,
    })
  }
}

/** We read what apt prints: it has to be in English. */
function aptEnvironment(): Record<string, string | undefined> {
  return { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' }
}

/** Debian policy 5.6.1. Keeps options and `name=version` out of apt's command line. */
function assertPackageName(name: string): void {
  if (/^[a-z0-9][a-z0-9+.-]+$/.test(name)) return
  throw new DebianPartsError(`Not a Debian package name: ${JSON.stringify(name)}, want for example "iptables"`)
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
