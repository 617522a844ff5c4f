import './harness/isolated.ts'
import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import t from 'tap'
import { Netns } from './harness/namespace.ts'

// The executables of dist/bin on a node that has glibc and nothing else (design section 7): kind's node images, for one, have
// no libatomic1, and Node does not start without it.

const ROOT = dirname(dirname(import.meta.dirname))
const BIN = join(ROOT, 'dist', 'bin')
const TIMEOUT_MS = 30_000

/** glibc, as far as a program loads it. Its parts are one set: those of another machine would not do. */
const GLIBC = ['libc.so.6', 'libm.so.6', 'libdl.so.2', 'libpthread.so.0', 'librt.so.1']

const PLUGIN_CONFIG = { cniVersion: '1.1.0', name: 'pods', type: 'tulle', ipam: { type: 'tulle-ipam' } }
const IPAMD_CONFIG = {
  socket: '/run/tulle/ipamd.sock',
  stateDir: '/var/lib/tulle',
  pools: [{ name: 'default', prefixes: ['10.244.0.0/16', 'fd00:10:244::/56'] }],
}

const root = mkdtempSync(join(tmpdir(), 'tulle-chroot-'))
t.teardown(() => {
  execFileSync('umount', [join(root, 'proc')], { timeout: TIMEOUT_MS })
  rmSync(root, { recursive: true })
})
for (const library of glibc()) {
  mkdirSync(join(root, dirname(library)), { recursive: true })
  cpSync(realpathSync(library), join(root, library))
}
mkdirSync(join(root, 'proc'))
execFileSync('mount', ['-t', 'proc', 'proc', join(root, 'proc')], { timeout: TIMEOUT_MS })
cpSync(BIN, join(root, 'opt/cni/bin'), { recursive: true, verbatimSymlinks: true })
mkdirSync(join(root, 'usr/local/bin'), { recursive: true })
// The daemon as an image would have it: copies under their own names, no links.
cpSync(join(BIN, 'tulle-node'), join(root, 'usr/local/bin/ipamd'))
cpSync(join(BIN, 'lib'), join(root, 'usr/local/bin/lib'), { recursive: true })

t.test('tulle answers VERSION where there is only glibc', async t => {
  for (const name of ['tulle', 'tulle-node', 'tulle-ipam']) {
    const { exitCode, stdout, stderr } = await runInRoot([`/opt/cni/bin/${name}`], { CNI_COMMAND: 'VERSION' })
    t.equal(exitCode, 0, stderr)
    t.match(JSON.parse(stdout), { supportedVersions: ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] })
  }
})

t.test('a pod is attached and detached where there is only glibc: addon, store, socket, netlink', async t => {
  for (const folder of ['run/netns', 'etc/tulle', 'sys']) mkdirSync(join(root, folder), { recursive: true })
  await using pod = await Netns.create('pod')
  // Bound by its file: the chroot has a /run of its own.
  const netns = join(root, 'run/netns/pod')
  writeFileSync(netns, '')
  execFileSync('mount', ['--bind', pod.path, netns], { timeout: TIMEOUT_MS })
  writeFileSync(join(root, 'etc/tulle/ipamd.json'), JSON.stringify(IPAMD_CONFIG))
  const ipamd = spawn('chroot', [root, '/usr/local/bin/ipamd'], { stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = once(ipamd, 'exit')
  try {
    for await (const line of createInterface({ input: ipamd.stderr, signal: AbortSignal.timeout(TIMEOUT_MS) }))
      if (line.includes('"ready"')) break
    const env = { CNI_CONTAINERID: 'c1', CNI_NETNS: '/run/netns/pod', CNI_IFNAME: 'eth0', CNI_PATH: '/opt/cni/bin' }
    const tulle = (verb: string, config: object = PLUGIN_CONFIG): Promise<Ended> =>
      runInRoot(['/opt/cni/bin/tulle'], { ...env, CNI_COMMAND: verb }, JSON.stringify(config))
    const added = await tulle('ADD')
    t.equal(added.exitCode, 0, added.stdout)
    const prevResult: unknown = JSON.parse(added.stdout)
    t.match(prevResult, { ips: [{ address: '10.244.0.2/32' }, { address: 'fd00:10:244::2/128' }] })
    for (const verb of ['CHECK', 'STATUS', 'DEL'])
      t.same(await tulle(verb, { ...PLUGIN_CONFIG, prevResult }), { exitCode: 0, stdout: '', stderr: '' }, verb)
  } finally {
    ipamd.kill('SIGTERM')
    await ended
    execFileSync('umount', [netns], { timeout: TIMEOUT_MS })
  }
})

t.test('ipamd tells its version where there is only glibc, through a link and as a copy of its own', async t => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  for (const path of ['/opt/cni/bin/ipamd', '/usr/local/bin/ipamd']) {
    const { exitCode, stdout, stderr } = await runInRoot([path, '--version'], {})
    t.equal(exitCode, 0, stderr)
    t.ok(stdout.includes(version), `${path} says ${stdout.trim()}, want ${version}`)
  }
})

t.test('tullectl starts where there is only glibc', async t => {
  const { exitCode, stdout, stderr } = await runInRoot(['/opt/cni/bin/tullectl', 'version'], {})
  t.equal(exitCode, 0, stderr)
  t.match(stdout, /^tullectl \d+\.\d+\.\d+\n$/)
})

t.test("tulle ignores the caller's NODE_OPTIONS", async t => {
  const env = {
    CNI_COMMAND: 'VERSION',
    NODE_OPTIONS: '--require /nonexistent',
  }
  const { exitCode, stderr } = await runInRoot(['/opt/cni/bin/tulle'], env)
  t.equal(exitCode, 0, stderr)
})

t.test('an executable under a name that it does not know names those that it does', async t => {
  cpSync(join(BIN, 'tulle-node'), join(root, 'opt/cni/bin/other'))
  const { exitCode, stdout, stderr } = await runInRoot(['/opt/cni/bin/other'], { CNI_COMMAND: 'VERSION' })
  t.equal(exitCode, 2)
  t.equal(stdout, '')
  t.equal(stderr, 'other: not a name of this executable: tulle, tulle-node, tulle-ipam, tulle-agent, ipamd, tullectl\n')
})

/** The files of glibc on this machine, and the program interpreter that every executable names. */
function glibc(): readonly string[] {
  const text = execFileSync('readelf', ['--program-headers', join(BIN, 'tulle-node')], {
    timeout: TIMEOUT_MS,
  }).toString()
  const interpreter = /program interpreter: ([^\]]+)\]/.exec(text)?.[1]
  if (interpreter === undefined) throw new Error('tulle-node names no program interpreter')
  const libraries = GLIBC.map(name => {
    return execFileSync('gcc', [`-print-file-name=${name}`], { timeout: TIMEOUT_MS })
      .toString()
      .trim()
  })
  return [interpreter, ...libraries.map(path => join(realpathSync(dirname(path)), path.slice(dirname(path).length)))]
}

interface Ended {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

function runInRoot(
  command: readonly string[],
  env: Readonly<Record<string, string>>,
  stdin = '{"cniVersion":"1.1.0"}',
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const options = { env: { PATH: process.env['PATH'], ...env }, timeout: TIMEOUT_MS }
    const child = execFile('chroot', [root, ...command], options, (failure, stdout, stderr) => {
      // A failure without an exit code: it could not be started, or ran out of time.
      if (failure !== null && typeof failure.code !== 'number') reject(failure)
      else resolve({ exitCode: child.exitCode ?? -1, stdout, stderr })
    })
    child.stdin?.end(stdin)
  })
}
