import { type Check, NotApplicable, SPEC } from '../check.ts'
import { codeOf, describeOutcome } from '../outcome.ts'

const NOT_READY: ReadonlySet<number | undefined> = new Set([50, 51])

/** STATUS (SPEC 1.1.0, section 2). */
export const statusChecks: readonly Check[] = [
  {
    id: 'S0.old-version',
    basis: 'library',
    source: `${SPEC.skel}: STATUS came with 1.1.0`,
    expected: 'STATUS with a configuration of 1.0.0 is refused with code 1.',
    async run(stage) {
      const outcome = await stage.call('STATUS', { keys: { cniVersion: '1.0.0' } })
      stage.expect(codeOf(outcome) === 1, describeOutcome(outcome))
    },
  },
  {
    id: 'S1.ready',
    basis: 'must',
    source: SPEC.status,
    expected: 'STATUS succeeds when ADD would.',
    needs: ['STATUS'],
    async run(stage) {
      await stage.added()
      stage.expectSuccess(await stage.runtime.status())
    },
  },
  {
    id: 'S1.reads-only',
    basis: 'our-reading',
    source: `${SPEC.status}: "Status is purely informational"`,
    expected: 'STATUS changes nothing on the node.',
    needs: ['STATUS'],
    async run(stage) {
      const before = await stage.node.state()
      await stage.runtime.status()
      const after = await stage.node.state()
      stage.expect(JSON.stringify(before) === JSON.stringify(after), 'the state of the node is another after STATUS')
    },
  },
  {
    id: 'S2.outage',
    basis: 'should',
    source: `${SPEC.status}: "if a plugin relies on an external service or daemon, it should return an error to STATUS if that service is unavailable"`,
    expected: 'STATUS fails with code 50 or 51 when what ADD depends on is not there.',
    needs: ['STATUS', 'outage'],
    async run(stage) {
      const { outage } = stage.subject
      if (outage === undefined) throw new NotApplicable('no outage was given')
      stage.isNodeSpent = true
      await stage.run(stage.node.netns, ['sh', '-c', outage])
      const outcome = await stage.runtime.status()
      stage.expectFailure(outcome)
      const code = codeOf(outcome.decisive)
      stage.expect(
        outcome.isSuccess || NOT_READY.has(code),
        () => `code ${code ?? 'none'}: ${describeOutcome(outcome.decisive)}`,
      )
    },
  },
  {
    id: 'S3.exhausted',
    basis: 'should',
    source: `${SPEC.status}: "if a plugin has a limited number of resources (e.g. IP addresses, hardware queues), it should return an error if those resources are exhausted"`,
    expected: 'STATUS fails with code 50 or 51 when every address is taken, and succeeds when one is free again.',
    needs: ['STATUS', 'addresses', 'exhaustible'],
    async run(stage) {
      const { exhaustible } = stage.subject
      if (exhaustible === undefined) throw new NotApplicable('no small network was given')
      const runtime = stage.runtimeWith({ conflist: exhaustible.conflist })
      await stage.prime({ runtime })
      const pods = []
      for (let count = 0; count < exhaustible.addresses; count += 1) pods.push(await stage.added({ runtime }))
      const full = await runtime.status()
      stage.expectFailure(full, `all ${exhaustible.addresses} addresses are taken`)
      const code = codeOf(full.decisive)
      stage.expect(
        full.isSuccess || NOT_READY.has(code),
        () => `code ${code ?? 'none'}: ${describeOutcome(full.decisive)}`,
      )
    },
  },
]
