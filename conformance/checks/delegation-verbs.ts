import { type Check, SPEC } from '../check.ts'
import { MUST_EXECUTE, REFUSAL, callWith, delegated, expectPassedOn } from './delegated.ts'

/** CHECK, GC and STATUS of a plugin that delegates IPAM (SPEC 1.1.0, sections 2 and 4). */
export const delegationVerbChecks: readonly Check[] = [
  delegated({
    id: 'K6.delegate-called',
    basis: 'must',
    source: MUST_EXECUTE,
    expected: 'CHECK executes the IPAM plugin.',
    run: async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      await runtime.check(pod.attachment, pod.result)
      await callWith(stage, delegate, 'CHECK')
    },
    verb: 'CHECK',
  }),
  delegated({
    id: 'K6.delegate-failed',
    basis: 'should',
    source: MUST_EXECUTE,
    expected: 'CHECK fails when the IPAM plugin fails.',
    run: async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      await delegate.answer('CHECK', { stdout: JSON.stringify(REFUSAL), exitCode: 1 })
      const outcome = await runtime.check(pod.attachment, pod.result)
      await expectPassedOn({ stage, delegate }, { verb: 'CHECK', outcome })
    },
    verb: 'CHECK',
  }),
  delegated({
    id: 'G5.delegate-called',
    basis: 'must',
    source: `${SPEC.gc}: "Plugins MUST, additionally, forward any GC calls to delegated plugins they are configured to use"`,
    expected: 'GC executes the IPAM plugin, with the list of valid attachments.',
    run: async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      stage.expectSuccess(await runtime.gc([pod.attachment]))
      const call = await callWith(stage, delegate, 'GC')
      stage.expect(
        call === undefined || call.stdin.includes(pod.attachment.containerId),
        `the delegate got ${call?.stdin}`,
      )
    },
    verb: 'GC',
  }),
  delegated({
    id: 'G4.delegate-failed',
    basis: 'should',
    source: `${SPEC.gc}: "should continue; removing as many resources as possible, and report the errors back to the runtime"`,
    expected: 'GC fails when the IPAM plugin fails.',
    run: async ({ stage, delegate, runtime }) => {
      await delegate.answer('GC', { stdout: JSON.stringify(REFUSAL), exitCode: 1 })
      await expectPassedOn({ stage, delegate }, { verb: 'GC', outcome: await runtime.gc([]) })
    },
    verb: 'GC',
  }),
  delegated({
    id: 'S4.delegate-called',
    basis: 'must',
    source: `${SPEC.status}: "it must also execute a STATUS request to that plugin"`,
    expected: 'STATUS executes the IPAM plugin.',
    run: async ({ stage, delegate, runtime }) => {
      stage.expectSuccess(await runtime.status())
      await callWith(stage, delegate, 'STATUS')
    },
    verb: 'STATUS',
  }),
  delegated({
    id: 'S4.delegate-failed',
    basis: 'should',
    source: `${SPEC.status}: "If the delegated plugin return an error result, the executing plugin should return an error result"`,
    expected: 'STATUS fails when the IPAM plugin fails.',
    run: async ({ stage, delegate, runtime }) => {
      await delegate.answer('STATUS', { stdout: JSON.stringify({ ...REFUSAL, code: 50 }), exitCode: 1 })
      await expectPassedOn({ stage, delegate }, { verb: 'STATUS', outcome: await runtime.status() })
    },
    verb: 'STATUS',
  }),
]
