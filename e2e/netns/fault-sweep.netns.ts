import './harness/isolated.ts'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { sweep, WIRINGS } from './harness/sweep.ts'

// ADD failing at each of its effects in turn: every message that it sends to the kernel, and every setting that it writes.
// Everything is undone, the first error reported, the lease given back (checklist A8, A9; invariant 2).

for (const { name, source, plugin, effects } of WIRINGS) {
  for (const effect of effects) {
    t.test(`ADD with ${name}: each ${effect.name} that fails is reported, and everything is undone`, async t => {
      await using folder = await mkdtempDisposable(join(tmpdir(), 'tulle-faults-'))
      await sweep(
        t,
        { folder: folder.path, source, ...plugin, effect, fault: 'error=ENOBUFS' },
        async ({ number, outcome }) => {
          t.equal(outcome.exitCode, 1, `${number}: ADD fails`)
          t.match(outcome.json, { code: 102, msg: /ENOBUFS/ }, `${number}: with one document, about that`)
        },
      )
    })
  }
}
