import './harness/isolated.ts'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { callDirectly, type DirectCall } from './harness/direct-call.ts'
import type { PluginOutcome } from './harness/invoke.ts'
import type { JsonObject } from './harness/json.ts'
import { Netns } from './harness/namespace.ts'
import { countFrom, seedFrom } from './harness/random.ts'
import { newAttachment, type RuntimeAttachment } from './harness/runtime.ts'
import { BIN_FOLDER, RUN_FOLDER } from './harness/tulle.ts'
import { leavesNothing, TulleNode } from './harness/tulle-node.ts'

// One engine, two hosts: what ipamd does for the launcher is what the executable does itself, to the byte (DESIGN: the parts).

const RUNS = countFrom('TULLE_SERVED_RUNS', 12)
const SEED = seedFrom('TULLE_SERVED_SEED')
/** One address of each family: whoever asks, and whenever, gets the same. */
const ONE_ADDRESS = {
  prefixes: ['10.244.0.0/30', 'fd00:10:244::/126'],
  ipamd: {
    pools: [
      {
        name: 'default',
        prefixes: ['10.244.0.0/30', 'fd00:10:244::/126'],
        exclude: ['fd00:10:244::3/128'],
        cooldownSeconds: 0,
      },
    ],
  },
} as const

const VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0', '', '2.0.0', 'one'] as const
const VERBS = ['ADD', 'CHECK', 'DEL', 'GC', 'STATUS', 'VERSION'] as const

/** One call, with whatever may be wrong with it. */
interface Scene {
  readonly verbs: readonly (typeof VERBS)[number][]
  readonly configuration: JsonObject
  readonly env: Readonly<Record<string, string | undefined>>
  readonly keepsResult: boolean
}

const mostly = <T>(usual: T, others: fc.Arbitrary<T>): fc.Arbitrary<T> =>
  fc.oneof({ weight: 4, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: others })
const word = fc.constantFrom('x', '', 'a b', '../x', 'ü', '\u{1f600}', 'x'.repeat(300))

const scenes: fc.Arbitrary<Scene> = fc.record({
  verbs: fc.oneof(
    fc.constantFrom(
      ['ADD', 'CHECK', 'ADD', 'DEL', 'DEL', 'CHECK'],
      ['ADD', 'GC', 'CHECK', 'STATUS', 'DEL', 'STATUS'],
    ) as fc.Arbitrary<Scene['verbs']>,
    fc.array(fc.constantFrom(...VERBS), { minLength: 1, maxLength: 4 }),
  ),
  configuration: fc.record(
    {
      cniVersion: mostly<unknown>('1.1.0', fc.constantFrom(...VERSIONS)),
      name: mostly<unknown>('pods', fc.oneof(word, fc.constant(7))),
      mtu: fc.constantFrom<unknown>(1400, 1000, 0, -1, 'big', 65536),
      mode: mostly<unknown>('transparent', fc.constant('x')),
      ipsToRouteViaHost: fc.constantFrom<unknown>([], ['169.254.20.10'], ['fd00::53', '10.0.0.10'], ['127.0.0.1'], 'x'),
      dns: fc.constantFrom<unknown>({ nameservers: ['10.96.0.10'], search: ['a.b'] }, {}, null, 'x'),
      args: fc.constantFrom<unknown>({ cni: { labels: [] } }, { cni: { ips: ['10.244.0.2'] } }, null),
      ipam: mostly<unknown>(
        { type: 'tulle-ipam' },
        fc.constantFrom({ type: 'tulle-ipam', pool: 'none' }, { type: 'host-local' }, {}, null),
      ),
      'cni.dev/valid-attachments': fc.constantFrom<unknown>([], null, [{ containerID: 'x', ifname: 'eth0' }], 'x'),
    },
    { requiredKeys: ['cniVersion', 'name', 'ipam'] },
  ),
  env: fc.record(
    {
      CNI_ARGS: fc.constantFrom(
        '',
        'IgnoreUnknown=1;K8S_POD_NAME=web',
        'a=b=c',
        'X=1',
        'IgnoreUnknown=1;IP=10.244.0.2',
      ),
      CNI_IFNAME: mostly('eth0', fc.constantFrom('net1', '', 'a/b', 'x'.repeat(16))),
      CNI_CONTAINERID: mostly<string | undefined>(undefined, fc.constantFrom('', '-x', 'x'.repeat(200))),
      CNI_NETNS: mostly<string | undefined>(
        undefined,
        fc.constantFrom('', 'relative', '/nonexistent', '/dev/null', '/proc/self/ns/net'),
      ),
    },
    { requiredKeys: [] },
  ),
  keepsResult: fc.boolean(),
})

t.test(
  'served and direct give the same output and the same exit code, byte by byte',
  { timeout: 60_000 + RUNS * 20_000 },
  async t => {
    t.comment(`TULLE_SERVED_SEED=${SEED} TULLE_SERVED_RUNS=${RUNS}`)
    await using node = await TulleNode.start(ONE_ADDRESS)
    const property = fc.asyncProperty(scenes, async scene => {
      const served = await play(node, scene, 'tulle')
      const direct = await play(node, scene, 'tulle-node')
      if (JSON.stringify(served) !== JSON.stringify(direct))
        throw new Error(`served ${JSON.stringify(served, null, 1)}\ndirect ${JSON.stringify(direct, null, 1)}`)
    })
    await leavesNothing(t, node, async () => {
      await fc.assert(property, { numRuns: RUNS, seed: SEED, endOnFailure: true })
    })
  },
)

/** Plays a scene on a new namespace, and takes down what it leaves. */
async function play(node: TulleNode, scene: Scene, executable: string): Promise<readonly object[]> {
  await using pod = await Netns.create('pod')
  // The same names for both: they are in the result.
  const attachment = { ...newAttachment(pod), containerId: 'c1' }
  const outcomes: object[] = []
  let prevResult: JsonObject | undefined
  for (const verb of scene.verbs) {
    const outcome = await call(verb, attachment, { scene, prevResult, executable })
    if (verb === 'ADD' && outcome.exitCode === 0 && scene.keepsResult) prevResult = outcome.json
    outcomes.push({ verb, exitCode: outcome.exitCode, stdout: outcome.stdout.replaceAll(pod.path, '/run/netns/pod') })
  }
  // Under the name of the scene's network, and whatever was wrong with the rest.
  const { name, cniVersion } = scene.configuration
  const ifName = scene.env['CNI_IFNAME'] ?? 'eth0'
  for (const containerId of ['c1', scene.env['CNI_CONTAINERID'] ?? 'c1'])
    await callDirectly('DEL', { ...attachment, containerId, ifName }, { configuration: { name, cniVersion } })
  if (node.ipamd.pid === 0) throw new Error('ipamd is gone')
  return outcomes
}

interface Part {
  readonly scene: Scene
  readonly prevResult: JsonObject | undefined
  readonly executable: string
}

function call(
  verb: string,
  attachment: RuntimeAttachment,
  { scene, prevResult, executable }: Part,
): Promise<PluginOutcome> {
  const given: DirectCall = {
    executable: join(BIN_FOLDER, executable),
    configuration: { ...scene.configuration, ...(prevResult && { prevResult }) },
    env: Object.fromEntries(Object.entries(scene.env).filter(([, value]) => value !== undefined)),
  }
  return callDirectly(verb, attachment, given)
}

t.test('input that is no JSON, no text, or too long gets the same answer both ways', async t => {
  await using _node = await TulleNode.start()
  const attachment = { containerId: 'c1', netnsPath: '/run/netns/none', ifName: 'eth0' }
  for (const stdin of [
    '',
    '{',
    '[]',
    '{"cniVersion":1}',
    'x'.repeat(1024 * 1024 + 1),
    `{"name":"${'x'.repeat(1024 * 1024 - 12)}"}`,
  ]) {
    for (const verb of ['ADD', 'VERSION']) {
      const [served, direct] = await Promise.all(
        ['tulle', 'tulle-node'].map(name =>
          callDirectly(verb, attachment, { stdin, executable: join(BIN_FOLDER, name) }),
        ),
      )
      t.same([served?.exitCode, served?.stdout], [direct?.exitCode, direct?.stdout], `${verb} ${stdin.slice(0, 20)}`)
    }
  }
})

t.test('ipamd does the calls of the launcher: it counts them, and the executable is not started', async t => {
  await using node = await TulleNode.start()
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    t.equal((await node.runtime.check(pod.attachment)).exitCode, 0)
    await node.detach(pod)
    t.equal((await node.runtime.status()).exitCode, 0)
  })
  t.same(await fallbacksOf(node), [])
})

t.test('without ipamd the executable does the call, and ipamd counts that when it is back', async t => {
  await using node = await TulleNode.start()
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    await node.stopIpamd()
    await node.detach(pod)
    await node.startIpamd()
    t.match(await fallbacksOf(node), [{ verb: 'DEL', reason: 'unreachable', calls: 1 }])
    t.ok(
      node.ipamd.log.some(line => line.includes('done without ipamd') && line.includes('unreachable')),
      'it says so',
    )
    t.same(await fallbacksOf(node), await fallbacksOf(node), 'each is counted once')
  })
  t.same(await readdir(join(RUN_FOLDER, 'spool')), [])
})

t.test('an ipamd in another network namespace declines: it would work on another node', async t => {
  await using node = await TulleNode.start()
  await node.stopIpamd()
  await using elsewhere = await Netns.create('elsewhere')
  await node.startIpamd(elsewhere)
  await declines(t, node, 'other-node')
})

t.test('a configuration that names another ipamd is declined', async t => {
  await using node = await TulleNode.start()
  await using pod = await Netns.create('pod')
  const ipam = { type: 'tulle-ipam', socket: '/run/tulle/other.sock' }
  const added = await callDirectly('ADD', newAttachment(pod), { configuration: { ipam } })
  t.match(added.json, { code: 11, msg: /other\.sock/ }, 'the executable asks the one that is named')
  t.match(await fallbacksOf(node), [{ verb: 'ADD', reason: 'other-ipamd', calls: 1 }])
})

t.test('a namespace whose path leads elsewhere in the view of ipamd is declined', async t => {
  await using node = await TulleNode.start()
  await leavesNothing(t, node, async () => {
    await using pod = await Netns.create('pod')
    // /proc/self is another process to each who looks.
    const attachment = { ...newAttachment(pod), netnsPath: '/proc/self/ns/net' }
    const inside = await callDirectly('ADD', attachment, { executable: join(BIN_FOLDER, 'tulle'), netns: pod })
    t.match(inside.json, { code: 8 }, 'what runs in the pod itself may not attach it')
  })
})

async function declines(t: Test, node: TulleNode, reason: string): Promise<void> {
  await using pod = await node.attach()
  t.equal((await node.runtime.check(pod.attachment)).exitCode, 0)
  await node.detach(pod)
  t.match(await fallbacksOf(node), [
    { verb: 'ADD', reason, calls: 1 },
    { verb: 'CHECK', reason, calls: 1 },
    { verb: 'DEL', reason, calls: 1 },
  ])
}

async function fallbacksOf(node: TulleNode): Promise<unknown> {
  const { fallbacks } = await node.ipamd.get('/v1/served')
  return fallbacks
}

t.test('an ADD whose answer was lost is done again by the executable, with the same result', async t => {
  await using node = await TulleNode.start()
  await leavesNothing(t, node, async () => {
    for (const share of [0, 0.5, 1]) {
      await using pod = await Netns.create('pod')
      const attachment = newAttachment(pod)
      await using cutter = await Cutter.start(node.ipamd.socketPath, share)
      const env = { TULLE_IPAMD_SOCKET: cutter.socketPath }
      const added = await callDirectly('ADD', attachment, { env })
      t.equal(added.exitCode, 0, added.stdout)
      const [reply = ''] = cutter.replies
      t.match(reply, /^HTTP\/1\.1 200 /, 'ipamd had done it')
      t.equal(added.stdout, reply.slice(reply.indexOf('\r\n\r\n') + 4), `cut at ${share}: the answer is that of ipamd`)
      t.equal((await callDirectly('CHECK', attachment, { configuration: { prevResult: added.json } })).stdout, '')
      t.equal((await node.leases()).length, 1, 'one lease')
      const again = await callDirectly('ADD', attachment, { env })
      t.match(again.json, { code: 103 }, 'what is in use stays in use, whatever happens to the answer (A1)')
      t.equal((await callDirectly('CHECK', attachment, { configuration: { prevResult: added.json } })).stdout, '')
      t.equal((await callDirectly('DEL', attachment, { env })).exitCode, 0, 'and a DEL whose answer is lost')
    }
    // Notes of what was done without ipamd lie beside the socket that was asked.
    await rm(CUTTER_FOLDER, { recursive: true })
  })
})

const CUTTER_FOLDER = '/run/cutter'

/** Stands between the launcher and ipamd, and cuts each answer off. */
class Cutter implements AsyncDisposable {
  readonly socketPath = join(CUTTER_FOLDER, 'ipamd.sock')
  /** What ipamd answered, whole. */
  readonly replies: string[] = []
  readonly #server: Server

  private constructor(ipamdPath: string, share: number) {
    this.#server = createServer(launcher => {
      const ipamd = connect(ipamdPath)
      const chunks: Buffer[] = []
      launcher.on('error', () => {})
      launcher.pipe(ipamd, { end: false })
      ipamd.on('data', (chunk: Buffer) => chunks.push(chunk))
      ipamd.on('close', () => {
        const reply = Buffer.concat(chunks)
        this.replies.push(reply.toString())
        launcher.end(reply.subarray(0, Math.floor(share * (reply.length - 1))))
      })
    })
  }

  /** @param share of each answer that comes through: 1 is all but the last byte. */
  static async start(ipamdPath: string, share: number): Promise<Cutter> {
    const cutter = new Cutter(ipamdPath, share)
    await mkdir(CUTTER_FOLDER, { recursive: true })
    await new Promise<void>(resolve => cutter.#server.listen(cutter.socketPath, resolve))
    return cutter
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await new Promise(resolve => this.#server.close(resolve))
  }
}
