import './harness/isolated.ts'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { callDirectly } from './harness/direct-call.ts'
import { Netns } from './harness/namespace.ts'
import { newAttachment } from './harness/runtime.ts'
import { BIN_FOLDER, RUN_FOLDER } from './harness/tulle.ts'
import { leavesNothing, TulleNode } from './harness/tulle-node.ts'

// Calls of the launcher that ipamd does, and what becomes of those that it does not. That both ways give the same answer is shown by
// served-same.netns.ts.

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
    const metrics = await node.ipamd.text('/metrics')
    t.match(metrics, /^tulle_direct_fallbacks_total\{command="DEL",reason="unreachable"\} 1$/m, 'a counter has it')
    const status = await node.netns.run([join(BIN_FOLDER, 'tullectl'), 'status'])
    t.match(
      status,
      /done without ipamd since it started.*\n {2}DEL: 1, the last before [^ ]+Z \(unreachable\)\n/,
      'tullectl',
    )
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
  t.match((await node.ipamd.get('/v1/served'))['declined'], [{ name: reason, times: 3 }])
  const status = await node.netns.run([join(BIN_FOLDER, 'tullectl'), 'status'])
  t.match(status, new RegExp(`left to the plugin since it started:\\n {2}${reason}: 3 times, the last at [^ ]+Z\\n`))
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
