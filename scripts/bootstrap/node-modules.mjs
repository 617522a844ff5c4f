import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { run } from './run.mjs'

/**
 * Runs `npm ci` when node_modules is not what package-lock.json says, and never otherwise.
 *
 * npm keeps a lockfile of what it installed, written last: comparing the two needs no stamp of ours, and an install that
 * was cut short is seen.
 *
 * @param {string} root
 */
export async function ensureNodeModules(root) {
  const difference = firstDifference(root)
  if (difference === undefined) return
  process.stderr.write(`bootstrap: npm ci (${difference})\n`)
  // npm removes node_modules first, and with it the Node that `npm run` put before the system's in PATH.
  const path = (process.env.PATH ?? '')
    .split(delimiter)
    .filter(folder => !folder.startsWith(join(root, 'node_modules')))
  const env = { ...process.env, PATH: path.join(delimiter) }
  await run(['npm', 'ci', '--loglevel=error'], { cwd: root, env })
}

/**
 * @param {string} root
 * @returns {string | undefined} why node_modules is not what package-lock.json says.
 */
function firstDifference(root) {
  const installedFile = join(root, 'node_modules', '.package-lock.json')
  if (!existsSync(installedFile)) return 'nothing is installed'
  const wanted = packagesOf(join(root, 'package-lock.json'))
  const installed = packagesOf(installedFile)
  for (const [path, { version, integrity, optional }] of wanted) {
    const have = installed.get(path)
    // An optional package is left out on the machines that it is not for.
    if (have === undefined && optional === true) continue
    if (have === undefined) return `${path} is missing`
    if (have.version !== version || have.integrity !== integrity) return `${path} is ${have.version}, want ${version}`
  }
  for (const path of installed.keys()) if (!wanted.has(path)) return `${path} is no longer wanted`
  return undefined
}

/**
 * @param {string} lockfile
 * @returns {Map<string, { version?: string, integrity?: string, optional?: boolean }>} by path, without the project itself.
 */
function packagesOf(lockfile) {
  const { packages } = JSON.parse(readFileSync(lockfile, 'utf8'))
  return new Map(Object.entries(packages).filter(([path]) => path !== ''))
}

/**
 * Builds tap's test class for the plugins that .taprc names: its package carries one for the default plugins, and
 * `ignore-scripts` keeps it from building at installation.
 *
 * @param {string} root
 */
export async function ensureTapIsBuilt(root) {
  const inputs = createHash('sha256')
  for (const file of ['.taprc', 'node_modules/tap/package.json']) inputs.update(readFileSync(join(root, file)))
  const key = inputs.digest('hex')
  const stamp = join(root, 'node_modules', '.tulle-tap-build')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === key) return
  process.stderr.write('bootstrap: tap build\n')
  const { node, env } = pinnedNode(root)
  await run([node, join(root, 'node_modules', '.bin', 'tap'), 'build'], { cwd: root, env })
  writeFileSync(stamp, key)
}

/**
 * The Node that package-lock.json pins, and an environment in which child processes find it first.
 *
 * @param {string} root
 */
export function pinnedNode(root) {
  const bin = join(root, 'node_modules', '.bin')
  const node = join(bin, 'node')
  if (!existsSync(node)) {
    throw new Error(
      `no Node for ${process.platform}-${process.arch} in node_modules: Tulle is built on linux-x64 and linux-arm64`,
    )
  }
  return { node, env: { ...process.env, PATH: [bin, process.env.PATH].join(delimiter) } }
}
