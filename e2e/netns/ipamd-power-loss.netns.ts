import './harness/isolated.ts'
import { mkdir, mkdtempDisposable, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { jsonLog } from '../../lib/log/json-log.ts'
import { restoreStore } from '../../ipamd/store/restore-store.ts'
import { SqliteStore } from '../../ipamd/store/store.ts'
import { contentsOf } from '../../ipamd/store/test-snapshot.ts'
import { formatAddress } from '../../lib/net/address.ts'
import { Deadline } from '../../lib/time/deadline.ts'
import { Background } from './harness/background.ts'
import { asObject, asString } from './harness/json.ts'
import { addressesIn, callIpamd } from './harness/lease-client.ts'
import { LOSSES, afterPowerLoss, type Files } from './harness/power-loss.ts'
import { type Random, countFrom, randomFrom, seedFrom } from './harness/random.ts'
import { type Step, readTrace, traced } from './harness/store-trace.ts'
import { BIN_FOLDER, RUN_FOLDER } from './harness/tulle.ts'

// What the store is after a power loss. The built ipamd is recorded while it works: every write and every sync of its files,
// and every answer. Then the record is cut at many places, writes that were not synced are lost, and the store is opened: it
// is whole, and has what was answered (invariants 1 and 2).

const SEED = seedFrom('TULLE_POWER_LOSS_SEED')
const STATES = countFrom('TULLE_POWER_LOSS_STATES', 200)
const REQUESTS = 360
const CONTAINERS = 40
const SOCKET = join(RUN_FOLDER, 'ipamd.sock')
const STORE = 'ipam.db'
const BOOT = { bootId: 'b', initStartTicks: 1, hostNetnsInode: 1 }

t.test('a store after a power loss has what was answered', { timeout: 300_000 }, async t => {
  t.comment(`TULLE_POWER_LOSS_SEED=${SEED} TULLE_POWER_LOSS_STATES=${STATES}`)
  await using folder = await mkdtempDisposable(join(tmpdir(), 'tulle-power-'))
  const random = randomFrom(SEED)
  const steps = await record(folder.path, random)
  const answers = steps.filter(step => step.do === 'answered').length
  t.equal(answers, REQUESTS, 'the record has every answer')
  t.ok(
    steps.some((step, at) => step.do === 'write' && step.file === STORE && at > steps.length / 4),
    'the log was moved into the main file on the way',
  )

  const wrong: string[] = []
  for (let state = 0; state < STATES; state++) {
    const { cut, loss } = chooseState(steps, state, random)
    const past = steps.slice(0, cut)
    const complaint = await examine(afterPowerLoss(past, loss, random), past)
    if (complaint !== undefined) wrong.push(`power lost at step ${cut}, with it ${loss}: ${complaint}`)
  }
  t.same(wrong, [], `${STATES} states of ${steps.length} steps`)

  // The examination must see a store that answers before it syncs. One answer in a store without a single sync is enough.
  const unsynced = steps.filter(step => step.do !== 'sync')
  const noticed = await examine(afterPowerLoss(unsynced, 'all of it', random), unsynced)
  t.match(noticed, /was answered/, 'a store that never syncs is found out')
})

/** Just after an answer in every other state, where the most can be lost; else anywhere. */
function chooseState(steps: readonly Step[], state: number, random: Random) {
  const answered = steps.flatMap((step, at) => (step.do === 'answered' ? [at + 1] : []))
  const cut = state % 2 === 0 ? answered[random.below(answered.length)] : undefined
  const loss = LOSSES[Math.floor(state / 2) % LOSSES.length] ?? 'all of it'
  return { cut: cut ?? random.below(steps.length + 1), loss }
}

async function record(folder: string, random: Random): Promise<readonly Step[]> {
  const stateDir = join(folder, 'state')
  const configFile = join(folder, 'ipamd.json')
  const traceFile = join(folder, 'trace')
  const pool = { name: 'default', prefixes: ['10.244.0.0/24', 'fd00:10:244::/56'], cooldownSeconds: 0 }
  const small = { ...pool, blockPrefixLength: { ipv4: 28, ipv6: 64 } }
  await writeFile(configFile, JSON.stringify({ socket: SOCKET, stateDir, pools: [small] }))
  await using daemon = Background.start(traced([join(BIN_FOLDER, 'ipamd'), '--config', configFile], traceFile))
  const pid = await daemon.until('it is ready', () => readyPid(daemon.lines))
  await work(random)
  // To the daemon itself: strace would leave it running.
  process.kill(pid, 'SIGTERM')
  await daemon.until('it has stopped', () => daemon.lines.some(line => line.includes('"stopped"')))
  await daemon.stop()
  return await readTrace(traceFile, {
    folder: stateDir,
    // The index of the log is no more than a cache: SQLite makes it anew at the first opening.
    isStored: file => file.startsWith(STORE) && !file.endsWith('-shm'),
  })
}

function readyPid(lines: readonly string[]): number | undefined {
  const ready = lines.find(line => line.includes('"ready"'))
  return ready === undefined ? undefined : Number(asObject(JSON.parse(ready), 'log line')['pid'])
}

/** Some requests at once, so that they share commits; each container has only one on the way. */
async function work(random: Random): Promise<void> {
  const holders = new Set<string>()
  for (let sent = 0; sent < REQUESTS;) {
    const count = Math.min(1 + random.below(4), REQUESTS - sent)
    const first = random.below(CONTAINERS)
    const containers = Array.from({ length: count }, (_, index) => `c${(first + index) % CONTAINERS}`)
    await Promise.all(containers.map(containerId => turn(containerId, holders)))
    sent += count
  }
}

async function turn(containerId: string, holders: Set<string>): Promise<void> {
  const path = holders.has(containerId) ? '/v1/leases/release' : '/v1/leases'
  const body = { attachment: { network: 'power', containerId, ifName: 'eth0' } }
  const { status } = await callIpamd(SOCKET, { path, body, timeoutMs: 20_000 })
  if (status !== 200) throw new Error(`${path} of ${containerId}: ${status}`)
  if (!holders.delete(containerId)) holders.add(containerId)
}

/** What is wrong with the store that `files` are; undefined when nothing is. */
async function examine(files: Files, past: readonly Step[]): Promise<string | undefined> {
  const folder = join(RUN_FOLDER, 'state') // in memory: what the examination syncs is of no interest
  await rm(folder, { recursive: true, force: true })
  await mkdir(folder, { recursive: true })
  for (const [file, content] of files) await writeFile(join(folder, file), content)
  const path = join(folder, STORE)
  const said: string[] = []
  const log = jsonLog(line => said.push(line))
  try {
    const edges = { log, boot: BOOT, nowUnixMs: Date.now, readMarks: async () => [] }
    await restoreStore(path, { pools: [], edges, by: Deadline.in(10_000) })
    // A power loss is no damage: SQLite has to cope by itself.
    if (said.length > 0) return said.join()
    const store = new SqliteStore(path, BOOT)
    const leases = contentsOf(store).leases
    store.close()
    using database = new DatabaseSync(path)
    const checked = database
      .prepare('PRAGMA integrity_check')
      .all()
      .map(row => String(row['integrity_check']))
    if (checked.join() !== 'ok') return checked.join('; ')
    const held = leases.map(({ attachment, addresses }): [string, readonly string[]] => [
      attachment.containerId,
      addresses.map(({ address }) => formatAddress(address)),
    ])
    return compare(new Map(held), past)
  } catch (failure) {
    return (failure as Error).message
  }
}

function compare(held: ReadonlyMap<string, readonly string[]>, past: readonly Step[]): string | undefined {
  const all = [...held.values()].flat()
  if (new Set(all).size !== all.length) return `an address has two leases: ${all.join()}`
  for (const [containerId, answered] of answeredIn(past)) {
    const has = held.get(containerId)?.join() ?? 'nothing'
    if (has !== answered) return `${containerId} was answered ${answered}, has ${has}`
  }
  return undefined
}

/** What each container was told last, but for those that have asked again since. */
function answeredIn(past: readonly Step[]): ReadonlyMap<string, string> {
  const answered = new Map<string, string>()
  const asking = new Map<number, string>()
  for (const step of past) {
    if (step.do === 'asked') {
      const containerId = asString(asObject(step.body['attachment'], 'attachment')['containerId'], 'containerId')
      asking.set(step.connection, containerId)
      answered.delete(containerId)
    }
    if (step.do !== 'answered') continue
    const containerId = asking.get(step.connection)
    if (containerId === undefined) throw new Error(`an answer to nobody: ${JSON.stringify(step.body)}`)
    answered.set(containerId, step.path.endsWith('/release') ? 'nothing' : addressesIn(step.body['lease']).join())
  }
  return answered
}
