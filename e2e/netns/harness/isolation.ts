import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, readlinkSync } from 'node:fs'
import { OUTSIDE_PID_VARIABLE } from '../../parts/outside.ts'

/** Folders of the machine that stay readable while everything written there is private and gone at the end. */
const PRIVATE_COPIES = ['/etc', '/var/lib'] as const

/** Holds the pid of a process that has entered its namespaces: execve keeps the pid, and children have another one. */
const ISOLATED_PID_VARIABLE = 'TULLE_E2E_ISOLATED_PID'

/**
 * Puts this process into a network and a mount namespace of its own, in which it plays a node: an empty /run, a private copy
 * of /etc and /var/lib, and no interface but lo (which is down). Default paths such as /run/tulle/ipamd.sock,
 * /etc/cni/net.d and /var/lib/cni can be used for real, and test files cannot meet each other. All of it ends with the last
 * process inside. An isolated process may start another that isolates itself in turn.
 *
 * The first call replaces the process image by execve (same pid, same stdin, stdout and stderr), so it has to be made before
 * the program has done anything: import ./isolated.ts first. The call in the new image makes the mounts and returns.
 *
 * @throws {Error} when the process is not root or a mount is refused.
 */
export function isolateThisProcess(): void {
  if (process.env[ISOLATED_PID_VARIABLE] !== String(process.pid)) return enterNamespaces()
  mount('-t', 'tmpfs', 'tmpfs', '/run')
  PRIVATE_COPIES.filter(folder => !isOverlay(folder)).forEach(mountPrivateCopy)
  // Covers the working files of the copies, which stay in use underneath.
  mount('-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', '/run')
}

/**
 * For what makes interfaces and namespaces, and must never do so on the machine itself.
 *
 * @throws {Error} unless this process is isolated.
 */
export function assertIsolated(what: string): void {
  if (isIsolated()) return
  throw new Error(`${what}: only in an isolated process, want './harness/isolated.ts' as the first import`)
}

function isIsolated(): boolean {
  const pid = process.env[OUTSIDE_PID_VARIABLE]
  return pid !== undefined && readlinkSync(`/proc/${pid}/ns/net`) !== readlinkSync('/proc/self/ns/net')
}

function enterNamespaces(): void {
  if (process.getuid?.() !== 0) throw new Error('Cannot make namespaces: this needs root')
  if (process.execve === undefined) throw new Error(`Cannot use Node ${process.version}: want one with process.execve`)
  const again = [process.execPath, ...process.execArgv, ...process.argv.slice(1)]
  process.execve('/usr/bin/unshare', ['unshare', '--mount', '--net', '--propagation=private', '--', ...again], {
    ...process.env,
    [OUTSIDE_PID_VARIABLE]: process.env[OUTSIDE_PID_VARIABLE] ?? String(process.ppid),
    [ISOLATED_PID_VARIABLE]: String(process.pid),
  })
}

/** True when `folder` is private already: the process that started this one was isolated. */
function isOverlay(folder: string): boolean {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
  return mounts.some(line => line.split(' ')[4] === folder && line.includes(' - overlay '))
}

function mountPrivateCopy(folder: string): void {
  const upper = `/run${folder}/upper`
  const work = `/run${folder}/work`
  mkdirSync(upper, { recursive: true })
  mkdirSync(work, { recursive: true })
  mount('-t', 'overlay', '-o', `lowerdir=${folder},upperdir=${upper},workdir=${work}`, 'overlay', folder)
}

function mount(...args: string[]): void {
  // --no-mtab: mount would otherwise make /run/mount, and the first time that is still the /run of the machine.
  execFileSync('mount', ['--no-mtab', ...args], { timeout: 10_000 })
}
