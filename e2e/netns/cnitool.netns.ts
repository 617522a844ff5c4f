import './harness/isolated.ts'
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { CommandOutcome } from '../parts/command.ts'
import { CNITOOL, GoMissing, goTool } from '../parts/go.ts'
import { addAddresses } from './harness/connect.ts'
import type { Ipamd } from './harness/ipamd.ts'
import { type JsonObject, asObject, asObjects, asString } from './harness/json.ts'
import { Netns } from './harness/namespace.ts'
import { isAtLeast } from './harness/network-list.ts'
import { ping } from './harness/reach.ts'
import { snapshotOf } from './harness/snapshot.ts'
import { BIN_FOLDER, RUN_FOLDER, readConflist, startIpamd } from './harness/tulle.ts'
import { until } from './harness/until.ts'

// Driven by the reference runtime library itself: what containerd and CRI-O do is what this library does.

const PREFIXES = ['10.244.0.0/16', 'fd00:10:244::/56']
/** The library keeps results below /var/lib/cni. */
const WATCHED = { folders: [RUN_FOLDER, '/var/lib/cni'] }
const NETWORK = 'tulle'

const NODE_ADDRESSES = ['192.0.2.1/32', '2001:db8::1/128']

const cnitool = await goTool(CNITOOL).catch((cause: unknown) => {
  if (cause instanceof GoMissing) return cause
  throw cause
})
if (cnitool instanceof GoMissing) {
  t.plan(0, `cnitool cannot be built here: ${cnitool.message}`)
} else {
  const node = Netns.own()
  await node.run(['ip', 'link', 'set', 'lo', 'up'])
  await addAddresses(node, { ifName: 'lo', addresses: NODE_ADDRESSES })
  for (const cniVersion of ['0.3.1', '0.4.0', '1.0.0', '1.1.0']) {
    t.test(`cnitool at ${cniVersion}`, async t => await testVersion(t, { cnitool, cniVersion, node }))
  }
}

async function testVersion(t: Test, { cnitool, cniVersion, node }: Subject): Promise<void> {
  await using folder = await mkdtempDisposable('/run/tulle-cnitool-')
  await using pod = await Netns.create('pod')
  await using ipamd = await startIpamd({ folder: folder.path, prefixes: PREFIXES })
  const confFolder = await writeConflist(folder.path, cniVersion)
  const env = { PATH: process.env['PATH'], CNI_PATH: BIN_FOLDER, NETCONFPATH: confFolder }
  const run = (verb: Verb): Promise<CommandOutcome> => node.execute([cnitool, verb, NETWORK, pod.path], { env })

  // What belongs to the node or to every container, and stays, is made by the first ADD.
  expectOk(t, 'add, the first time', await run('add'))
  expectOk(t, 'del, the first time', await run('del'))
  const clean = { node: await snapshotOf(node, WATCHED), pod: await snapshotOf(pod) }
  t.notMatch(clean.node, /\btul[a-z2-7]{12}\b/, 'no interface or route is left')

  const scene = { cniVersion, node, pod, ipamd, run, clean }
  await t.test('add and del', async t => await addAndDel(t, scene))
  if (isAtLeast(cniVersion, '0.4.0')) await t.test('check', async t => await check(t, scene))
  if (isAtLeast(cniVersion, '1.1.0')) await t.test('status and gc', async t => await statusAndGc(t, scene))
  await t.test('del while ipamd is down (R13)', async t => await delWithoutIpamd(t, { ...scene, folder: folder.path }))
}

async function addAndDel(t: Test, scene: Scene): Promise<void> {
  const { cniVersion, node, pod, run } = scene
  const added = await run('add')
  expectOk(t, 'add', added)
  t.equal(resultOf(added)['cniVersion'], cniVersion)
  for (const address of addressesOf(added)) t.type(await ping(node, address), 'number', `the node reaches ${address}`)
  t.match(await pod.run(['ip', '-brief', 'link', 'show', 'lo']), /<LOOPBACK,UP/, 'loopback is up')

  const again = await run('add')
  t.equal(again.exitCode, 1, 'A1: a second add of the same interface fails')
  t.match(again.stderr, /eth0/, 'and names the interface')
  for (const address of addressesOf(added)) t.type(await ping(node, address), 'number', `${address} works on`)

  expectOk(t, 'del', await run('del'))
  expectOk(t, 'del twice (D1)', await run('del'))
  await expectClean(t, scene)
}

async function check(t: Test, scene: Scene): Promise<void> {
  const { pod, run } = scene
  const added = await run('add')
  expectOk(t, 'check', await run('check'))
  const [address = ''] = addressesOf(added)
  await pod.run(['ip', 'address', 'delete', `${address}/32`, 'dev', 'eth0'])
  const checked = await run('check')
  t.equal(checked.exitCode, 1, 'K2: check reads the kernel')
  t.match(checked.stderr, new RegExp(address.replaceAll('.', '\\.')), 'and names what is missing')
  expectOk(t, 'del', await run('del'))
  await expectClean(t, scene)
}

async function statusAndGc(t: Test, scene: Scene): Promise<void> {
  const { run } = scene
  expectOk(t, 'status', await run('status'))
  expectOk(t, 'add', await run('add'))
  // Without a list of valid attachments the library deletes all that it remembers of this network.
  expectOk(t, 'gc', await run('gc'))
  await expectClean(t, scene)
}

async function delWithoutIpamd(t: Test, scene: Scene & { readonly folder: string }): Promise<void> {
  const { cniVersion, pod, ipamd, run, clean, folder } = scene
  expectOk(t, 'add', await run('add'))
  await ipamd.kill()
  if (isAtLeast(cniVersion, '1.1.0')) {
    t.equal((await run('status')).exitCode, 1, 'S2: status says that no add could succeed')
  }
  expectOk(t, 'del', await run('del'))
  expectOk(t, 'del twice', await run('del'))
  t.equal(await snapshotOf(pod), clean.pod, 'nothing is left in the pod')

  await using restarted = await startIpamd({ folder, prefixes: PREFIXES })
  await until('the spooled release was replayed', async () => (await leasesOf(restarted)).length === 0)
  await expectClean(t, { ...scene, ipamd: restarted })
}

async function expectClean(t: Test, { node, pod, ipamd, clean }: Scene): Promise<void> {
  t.equal(await snapshotOf(node, WATCHED), clean.node, 'nothing is left on the node')
  t.equal(await snapshotOf(pod), clean.pod, 'nothing is left in the pod')
  t.same(await leasesOf(ipamd), [], 'no lease is left')
}

type Verb = 'add' | 'check' | 'del' | 'gc' | 'status'

interface Subject {
  readonly cnitool: string
  readonly cniVersion: string
  readonly node: Netns
}

interface Scene {
  readonly cniVersion: string
  readonly node: Netns
  readonly pod: Netns
  readonly ipamd: Ipamd
  /** Runs cnitool for the pod. */
  readonly run: (verb: Verb) => Promise<CommandOutcome>
  /** Snapshots of when nothing was attached. */
  readonly clean: { readonly node: string; readonly pod: string }
}

type Test = Pick<typeof t, 'test' | 'equal' | 'same' | 'match' | 'notMatch' | 'type'>

function expectOk(t: Test, what: string, { exitCode, stdout, stderr }: CommandOutcome): void {
  t.equal(exitCode, 0, exitCode === 0 ? what : `${what}: ${stderr}${stdout}`)
}

function resultOf({ stdout }: CommandOutcome): JsonObject {
  return asObject(JSON.parse(stdout), 'result')
}

/** The addresses of a result, IPv4 first, without their prefix lengths. */
function addressesOf(added: CommandOutcome): readonly string[] {
  return asObjects(resultOf(added)['ips'], 'ips').map(ip => asString(ip['address'], 'address').replace(/\/.*/, ''))
}

async function leasesOf(ipamd: Ipamd): Promise<readonly JsonObject[]> {
  return asObjects((await ipamd.get('/v1/leases'))['leases'], 'leases')
}

/** Writes our own conflist, as for a runtime that knows `cniVersion` and no other, and returns its folder. */
async function writeConflist(folder: string, cniVersion: string): Promise<string> {
  const { cniVersions: _, ...conflist }: JsonObject = await readConflist('10-tulle.conflist')
  const confFolder = join(folder, 'net.d')
  await mkdir(confFolder)
  await writeFile(join(confFolder, '10-tulle.conflist'), JSON.stringify({ ...conflist, name: NETWORK, cniVersion }))
  return confFolder
}
