import './harness/isolated.ts'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { callDirectly } from './harness/direct-call.ts'
import { everything, POOLS, VERSIONS } from './harness/feature-scenes.ts'
import { hostileScenes } from './harness/hostile-scenes.ts'
import { asObjects } from './harness/json.ts'
import { Netns } from './harness/namespace.ts'
import { countFrom, seedFrom } from './harness/random.ts'
import { newAttachment } from './harness/runtime.ts'
import { playBothWays } from './harness/same-answer.ts'
import { BIN_FOLDER } from './harness/tulle.ts'
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

t.test(
  'served and direct give the same output and the same exit code to hostile input, byte by byte',
  { timeout: 60_000 + RUNS * 20_000 },
  async t => {
    t.comment(`TULLE_SERVED_SEED=${SEED} TULLE_SERVED_RUNS=${RUNS}`)
    await using node = await TulleNode.start(ONE_ADDRESS)
    const property = fc.asyncProperty(hostileScenes, async scene => void (await playBothWays(node, scene)))
    await leavesNothing(t, node, async () => {
      await fc.assert(property, { numRuns: RUNS, seed: SEED, endOnFailure: true })
    })
  },
)

t.test('served and direct do everything at once alike, in each mode and version', { timeout: 600_000 }, async t => {
  await using node = await startWithManyPools()
  await leavesNoPod(t, node, async () => {
    for (const mode of ['transparent', 'bridge'] as const) {
      for (const cniVersion of VERSIONS) {
        const answers = await playBothWays(node, everything(cniVersion, mode), {
          looksAtState: true,
          tidyUp: () => removeBridges(node),
        })
        t.match(answers[0], { verb: 'ADD', exitCode: 0 }, `${mode}, ${cniVersion}: ${answers[0]?.stdout}`)
        t.match(answers[6], { verb: 'DEL', exitCode: 0, stdout: '' })
      }
    }
  })
  const fallbacks = asObjects((await node.ipamd.get('/v1/served'))['fallbacks'], 'fallbacks')
  const calls = fallbacks.reduce((sum, { calls }) => sum + Number(calls), 0)
  // Of 140 calls of the launcher. On a busy machine one may come too late, and is done directly.
  t.ok(calls < 10, `ipamd did what the launcher asked, but for ${JSON.stringify(fallbacks)}`)
})

const PORT = { hostPort: 8080, containerPort: 80, protocol: 'tcp' }

/** A node on which each pool has had its pod, and has its block: what is made for the node, and stays, is there. */
async function startWithManyPools(): Promise<TulleNode> {
  const node = await TulleNode.start({ ipamd: { pools: POOLS } })
  await using pod = await Netns.create('pod')
  for (const { name: pool } of POOLS) {
    const attachment = newAttachment(pod)
    const configuration = { ipam: { type: 'tulle-ipam', pool }, ipMasq: true, runtimeConfig: { portMappings: [PORT] } }
    for (const verb of ['ADD', 'DEL']) {
      const outcome = await callDirectly(verb, attachment, { configuration })
      if (outcome.exitCode !== 0) throw new Error(`${verb} ${String(pool)}: ${outcome.stdout}`)
    }
  }
  return node
}

/** Runs `body`; after it there is no lease, and store and kernel agree that there is nothing else. */
async function leavesNoPod(t: Test, node: TulleNode, body: () => Promise<void>): Promise<void> {
  await body()
  t.same(await node.leases(), [])
  t.same((await node.ipamd.get('/v1/check'))['findings'], [])
}

/** Bridges are the node's: DEL leaves them. */
async function removeBridges(node: TulleNode): Promise<void> {
  await node.netns.execute(['ip', 'link', 'delete', 'cni0'])
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
