import './harness/isolated.ts'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { EFFECTS, sweep } from './harness/sweep.ts'

// ADD of a pod with ports of the node, killed before each message that it sends to the kernel: DEL leaves no element and no record
// (checklist R3, R4; invariant 7).

t.test('ADD with ports: killed before each message to the kernel, DEL leaves nothing', async t => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'tulle-kills-'))
  const portMappings = [
    { hostPort: 8080, containerPort: 80, protocol: 'tcp' },
    { hostPort: 5353, containerPort: 53, protocol: 'udp', hostIP: '192.0.2.1' },
  ]
  const options = {
    folder: folder.path,
    source: 'ipamd',
    effect: EFFECTS[0],
    fault: 'signal=KILL',
    portMappings,
  } as const
  await sweep(t, options, async ({ number, attachment, outcome, runtime }) => {
    t.equal(outcome.exitCode, null, `${number}: ADD is killed`)
    t.equal((await runtime.del({ ...attachment, capabilities: {} })).exitCode, 0, `${number}: DEL, without the ports`)
  })
})
