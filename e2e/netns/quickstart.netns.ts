import './harness/isolated.ts'
import { join } from 'node:path'
import t from 'tap'
import { Netns } from './harness/namespace.ts'
import { snapshotOf } from './harness/snapshot.ts'

const QUICKSTART = join(import.meta.dirname, '../../scripts/quickstart.ts')

t.test('the quickstart succeeds, and does not touch the namespaces that it is started in', async t => {
  const machine = Netns.own()
  const before = await snapshotOf(machine, { folders: ['/run', '/etc/cni', '/var/lib/cni', '/var/lib/tulle'] })
  const outcome = await machine.execute([process.execPath, QUICKSTART])
  t.equal(outcome.exitCode, 0, outcome.stderr)
  t.match(outcome.stdout, /pod A → pod B +IPv4 [\d.]+ ms, IPv6 [\d.]+ ms/)
  t.match(outcome.stdout, /✔ nothing of the pods is left/)
  t.notOk(outcome.stdout.includes('\u001b'), 'no colours without a terminal')
  t.equal(await snapshotOf(machine, { folders: ['/run', '/etc/cni', '/var/lib/cni', '/var/lib/tulle'] }), before)
})
