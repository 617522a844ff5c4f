import './harness/isolated.ts'
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtempDisposable, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { Background } from './harness/background.ts'
import { Ipamd, type IpamdOptions } from './harness/ipamd.ts'
import { type JsonObject, asObjects } from './harness/json.ts'
import { type LeaseAnswer, addressesIn, callIpamd, problemText } from './harness/lease-client.ts'
import { BIN_FOLDER, RUN_FOLDER } from './harness/tulle.ts'
import { until } from './harness/until.ts'

// What goes wrong around the built ipamd: each cause with the message it gives, and service again when the cause is gone.

const SOCKET = join(RUN_FOLDER, 'ipamd.sock')
const POOL = { name: 'default', prefixes: ['10.244.0.0/16'], cooldownSeconds: 0 }

interface Rig {
  readonly stateDir: string
  readonly store: string
  readonly options: IpamdOptions
}

async function withRig(pool: JsonObject, test: (rig: Rig) => Promise<void>): Promise<void> {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'tulle-faults-'))
  const stateDir = join(folder.path, 'state')
  const config = { socket: SOCKET, stateDir, pools: [{ ...POOL, ...pool }] }
  const options = { executable: join(BIN_FOLDER, 'ipamd'), configFile: join(folder.path, 'ipamd.json'), config }
  await test({ stateDir, store: join(stateDir, 'ipam.db'), options })
}

async function allocate(containerId: string): Promise<LeaseAnswer> {
  const body = { attachment: { network: 'net', containerId, ifName: 'eth0' } }
  return await callIpamd(SOCKET, { path: '/v1/leases', body })
}

async function serves(t: Test, containerId: string): Promise<void> {
  const { status, body } = await allocate(containerId)
  t.equal(status, 200, `serves: ${JSON.stringify(body)}`)
}

/** What an ipamd says that does not start. */
async function refusalToStart({ options }: Rig): Promise<string> {
  await writeFile(options.configFile, JSON.stringify(options.config))
  await using daemon = Background.start([options.executable, '--config', options.configFile])
  const { exitCode } = await until('it gives up', () => daemon.ending)
  return `${exitCode}: ${daemon.lines.join('\n')}`
}

t.test('a full pool: says so, and leases again after a release', async t => {
  await withRig({ prefixes: ['10.244.0.0/29'], blockPrefixLength: { ipv4: 29 } }, async ({ options }) => {
    await using _ipamd = await Ipamd.start(options)
    const taken = await Promise.all(['a', 'b', 'c', 'd', 'e'].map(allocate))
    t.same(
      taken.map(({ status }) => status),
      [200, 200, 200, 200, 200],
    )
    const { status, body } = await allocate('f')
    t.equal(status, 503)
    t.match(problemText(body), /pool-exhausted: .*default/)
    t.equal((await callIpamd(SOCKET, { path: '/v1/status' })).status, 503)
    const attachment = { network: 'net', containerId: 'a', ifName: 'eth0' }
    await callIpamd(SOCKET, { path: '/v1/leases/release', body: { attachment } })
    await serves(t, 'f')
  })
})

t.test('a full disk: nothing is answered that is not stored, and it serves when there is room', async t => {
  let next = 0
  await withRig({}, async ({ stateDir, options }) => {
    await using _disk = await mounted(stateDir, 'size=4m')
    await using _ipamd = await Ipamd.start(options)
    await serves(t, 'a')
    const filling = join(stateDir, 'filling')
    await fill(filling)
    const refused = await until('the disk is full for ipamd, too', () => firstRefusal())
    t.equal(refused.status, 500)
    t.match(problemText(refused.body), /store-failed: .*ipam\.db.*(full|disk)/i)
    t.equal((await callIpamd(SOCKET, { path: '/v1/status' })).status, 500, 'STATUS knows')
    await rm(filling)
    await serves(t, 'again')
    t.equal((await callIpamd(SOCKET, { path: '/v1/status' })).status, 200)
  })

  // Its log has some room left that was allocated before.
  async function firstRefusal(): Promise<LeaseAnswer | undefined> {
    const answer = await allocate(`more-${next++}`)
    return answer.status === 200 ? undefined : answer
  }
})

t.test('a read-only state folder: it does not start, and says why', async t => {
  await withRig({}, async rig => {
    await using disk = await mounted(rig.stateDir, 'size=4m')
    disk.remount('ro')
    t.match(await refusalToStart(rig), /^1: .*EROFS: read-only file system.*state/)
    disk.remount('rw')
    await using _ipamd = await Ipamd.start(rig.options)
    await serves(t, 'a')
  })
})

t.test('a damaged store: moved aside, reported, and made anew from interfaces and routes', async t => {
  await withRig({}, async ({ stateDir, store, options }) => {
    await (await Ipamd.start(options)).kill()
    await writeFile(store, 'no database'.repeat(1000))
    ip('link', 'set', 'lo', 'up')
    ip('link', 'add', 'tulfault', 'group', String(0x74756c), 'type', 'veth', 'peer', 'name', 'tulfaultpeer')
    ip('link', 'set', 'tulfault', 'up', 'alias', 'tulle/1 eth0 live net')
    ip('route', 'add', '10.244.0.2/32', 'dev', 'tulfault', 'proto', '117')
    await using ipamd = await Ipamd.start(options)
    const { body } = await allocate('live')
    t.same([addressesIn(body['lease']), body['isNew']], [['10.244.0.2'], false], 'the pod has its address still')
    t.same(addressesIn((await allocate('other')).body['lease']), ['10.244.0.3'], 'and nobody else gets it')
    const aside = (await readdir(stateDir)).find(file => file.startsWith('ipam.db.damaged-'))
    t.match(await readFile(join(stateDir, aside ?? 'none'), 'utf8'), /^no database/)
    t.match(ipamd.log.join('\n'), /lease store was damaged, and is made anew/)
    ip('link', 'delete', 'tulfault')
  })
})

t.test('a store of a later version: it does not start, and leaves the file alone (R35)', async t => {
  await withRig({}, async rig => {
    await (await Ipamd.start(rig.options)).stop()
    const before = setVersion(rig.store, 999)
    t.match(
      await refusalToStart(rig),
      /^1: .*Cannot use lease store .*ipam\.db: its version is 999, want .*later version/,
    )
    setVersion(rig.store, before)
    await using _ipamd = await Ipamd.start(rig.options)
    await serves(t, 'a')
  })
})

t.test('a second daemon: it does not start, names the first, which goes on', async t => {
  await withRig({}, async rig => {
    await using ipamd = await Ipamd.start(rig.options)
    t.match(await refusalToStart(rig), new RegExp(`^1: .*another ipamd \\(process ${ipamd.pid}\\) uses it`))
    await serves(t, 'a')
  })
})

t.test('a stale socket: replaced', async t => {
  await withRig({}, async ({ options }) => {
    await (await Ipamd.start(options)).kill()
    t.ok((await readdir(RUN_FOLDER)).includes('ipamd.sock'), 'a killed daemon leaves its socket')
    await using _ipamd = await Ipamd.start(options)
    await serves(t, 'a')
    t.equal(asObjects((await callIpamd(SOCKET, { path: '/v1/leases' })).body['leases'], 'leases').length, 1)
  })
})

async function mounted(folder: string, options: string) {
  await mkdir(folder, { recursive: true })
  execFileSync('mount', ['--no-mtab', '-t', 'tmpfs', '-o', `${options},mode=700`, 'tmpfs', folder], { timeout: 10_000 })
  return {
    remount: (how: string) => execFileSync('mount', ['--no-mtab', '-o', `remount,${how}`, folder], { timeout: 10_000 }),
    [Symbol.asyncDispose]: async () => {
      execFileSync('umount', ['--no-mtab', '--lazy', folder], { timeout: 10_000 })
    },
  }
}

/** Takes all the room that the disk has. */
async function fill(path: string): Promise<void> {
  try {
    await writeFile(path, Buffer.alloc(64 * 1024 * 1024))
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOSPC') throw cause
  }
}

/** @returns the version before. */
function setVersion(path: string, version: number): number {
  using database = new DatabaseSync(path)
  const before = Number(database.prepare('PRAGMA user_version').get()?.['user_version'])
  database.exec(`PRAGMA user_version = ${version}`)
  return before
}

function ip(...args: readonly string[]): void {
  execFileSync('ip', args, { timeout: 10_000 })
}
