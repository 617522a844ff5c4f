import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { post } from '../test-request.ts'
import type { CniServer } from '../cni/cni-server.ts'
import type { Subjects } from './handler.ts'
import { createApi } from './server.ts'

// A call of the plugin waits for its turn and for the kernel, longer than a connection may lie idle that its caller has to use.

/** Enough for a request to arrive on a busy machine. */
const IDLE_MS = 1000
const LOG = { info: () => {}, warn: () => {}, error: () => {} }

async function listen(t: Test, serve: CniServer['serve']): Promise<string> {
  const subjects = { cni: { serve }, metrics: { countRequest: () => {} } } as unknown as Subjects
  const peers = { peerCredentials: () => ({ uid: 0 }), ownUid: 0 }
  const server = createApi(subjects, { peers, log: LOG, idleTimeoutMs: IDLE_MS })
  const folder = mkdtempSync(join(tmpdir(), 'ipamd-api-'))
  const path = join(folder, 'ipamd.sock')
  server.listen(path)
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    rmSync(folder, { recursive: true })
  })
  return path
}

t.test('a call that takes longer than an idle connection lives gets its answer', async t => {
  const { promise: idleIsOver, resolve: answer } = Promise.withResolvers<void>()
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>()
  const path = await listen(t, async () => {
    ask()
    await idleIsOver
    return { stdout: '{}\n', stderr: '', exitCode: 0 }
  })
  const reply = post(path, '/v1/cni', {})
  await asked
  // Later than the call's connection, and closed for saying nothing.
  const { promise: closed, resolve: close } = Promise.withResolvers<void>()
  const idle = connect(path)
  // Being dropped is what is waited for.
  idle.on('error', () => {})
  idle.on('close', close)
  idle.resume()
  await closed
  answer()
  t.match(await reply, { status: 200, body: {} })
})
