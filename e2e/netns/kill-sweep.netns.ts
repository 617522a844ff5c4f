import './harness/isolated.ts'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type Round, sweep, WIRINGS } from './harness/sweep.ts'

// ADD killed before each of its effects in turn: every message that it sends to the kernel, and every setting that it writes.
// DEL leaves nothing, and a second ADD makes a whole pod (checklist R3, R4; invariant 7).

for (const { name, source, plugin, effects } of WIRINGS) {
  for (const effect of effects) {
    t.test(`ADD with ${name}: killed before each ${effect.name}, DEL or another ADD repairs it`, async t => {
      await using folder = await mkdtempDisposable(join(tmpdir(), 'tulle-kills-'))
      const whole: number[] = []
      await sweep(t, { folder: folder.path, source, ...plugin, effect, fault: 'signal=KILL' }, async round => {
        const { number, attachment, outcome, runtime } = round
        t.equal(outcome.exitCode, null, `${number}: ADD is killed`)
        // In every other round with an ADD between: the DEL after it has to find what the killed one left, too.
        if (number % 2 === 0 && !(await addAgain(t, round))) whole.push(number)
        t.equal((await runtime.del(attachment)).exitCode, 0, `${number}: DEL`)
      })
      // On a bridge ADD looks once more when all is done: killed there, its interface is in use as far as anybody can tell (A1).
      t.ok(whole.length <= 1, `refused as in use after ${whole.join()}: at most the last`)
    })
  }
}

/** @returns false when the interface was whole already, and ADD refused it: only DEL helps then. */
async function addAgain(t: Test, { number, runtime, attachment }: Round): Promise<boolean> {
  let added = await runtime.add(attachment)
  // Only DEL makes host-local forget an attachment. ADD sees nothing of the killed one, fails, and sends that DEL itself.
  if (added.stdout.includes('duplicate allocation is not allowed')) added = await runtime.add(attachment)
  if (added.json?.['code'] === 103) return false
  t.equal(added.exitCode, 0, `${number}: ADD again ${added.stdout}`)
  t.equal((await runtime.check(attachment)).stdout, '', `${number}: CHECK`)
  return true
}
