import { isDeepStrictEqual } from 'node:util'
import { type Check, SPEC } from '../check.ts'
import { isObject } from '../../e2e/netns/harness/json.ts'
import { DELEGATE } from '../fixture/delegate.ts'
import { linksOf } from '../kernel.ts'
import { describeOutcome, wordsOf } from '../outcome.ts'
import { addressesOf } from '../result.ts'
import { MUST_EXECUTE, REFUSAL, callWith, delegated, expectPassedOn } from './delegated.ts'

/** ADD and DEL of a plugin that delegates IPAM (SPEC 1.1.0, section 4). */
export const delegationAttachChecks: readonly Check[] = [
  delegated({
    id: 'A8.delegate-called',
    basis: 'must',
    source: SPEC.delegation,
    expected:
      'ADD executes the IPAM plugin with the environment and the whole configuration that it received, and uses what it gives.',
    run: async ({ stage, delegate, runtime, address }) => {
      const pod = await stage.added({ runtime })
      const received = stage.outcomes.findLast(outcome => outcome.env['CNI_CONTAINERID'] === pod.attachment.containerId)
      const call = await callWith(stage, delegate, 'ADD')
      if (call === undefined || received === undefined) return
      for (const name of ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH']) {
        const [got, want] = [call.env[name], received.env[name]]
        stage.expect(
          got === want,
          `${name} is ${JSON.stringify(got)} for the delegate, ${JSON.stringify(want)} for the plugin`,
        )
      }
      const [sent, whole]: readonly unknown[] = [JSON.parse(call.stdin), JSON.parse(received.stdin)]
      const isWhole =
        isObject(sent) && isObject(whole) && Object.keys(whole).every(key => isDeepStrictEqual(sent[key], whole[key]))
      stage.expect(isWhole, `the plugin got ${received.stdin}, the delegate ${call.stdin}`)
      const given = addressesOf(pod.result).map(text => text.replace(/\/.*/, ''))
      stage.expect(given.includes(address), `the delegate gave ${address}, the result has ${given.join(', ')}`)
    },
  }),
  delegated({
    id: 'A8.delegate-failed',
    basis: 'must',
    source: SPEC.delegation,
    expected: 'ADD fails when the IPAM plugin fails, and passes on what it said.',
    run: async ({ stage, delegate, runtime }) => {
      await delegate.answer('ADD', { stdout: JSON.stringify(REFUSAL), exitCode: 1 })
      const pod = await stage.pod({ runtime })
      const added = await runtime.add(pod.attachment)
      stage.expectFailure(added)
      stage.expect(
        wordsOf(added.decisive).includes(REFUSAL.msg),
        () => `not passed on: ${describeOutcome(added.decisive)}`,
      )
    },
  }),
  delegated({
    id: 'A8.delegate-failed-del',
    basis: 'should',
    source: `${SPEC.delegation}: "If, on ADD, a delegated plugin fails, the upper plugin should execute again with DEL before returning failure"`,
    expected: 'After the IPAM plugin failed in ADD, it is executed with DEL.',
    run: async ({ stage, delegate, runtime }) => {
      await delegate.answer('ADD', { stdout: JSON.stringify(REFUSAL), exitCode: 1 })
      const pod = await stage.pod({ runtime })
      await runtime.add(pod.attachment)
      await callWith(stage, delegate, 'DEL')
    },
  }),
  delegated({
    id: 'A9.rolled-back',
    basis: 'lesson',
    source: 'an address that a failed ADD keeps is found weeks later, when none is left',
    expected: 'When ADD fails after the IPAM plugin gave an address, the plugin gives it back before it returns.',
    run: async ({ stage, delegate, runtime }) => {
      const pod = await stage.pod({ runtime })
      // The address is there already, on another interface, with a route to its network: but what stops an ADD for certain is the name.
      await stage.addInterface(pod, stage.ifName)
      const added = await runtime.add(pod.attachment)
      stage.expectFailure(added)
      const verbs = (await delegate.calls()).map(({ verb }) => verb)
      stage.expect(
        !verbs.includes('ADD') || verbs.includes('DEL'),
        `the delegate was executed with ${verbs.join(', ')}`,
      )
    },
  }),
  delegated({
    id: 'A9.garbage-from-delegate',
    basis: 'lesson',
    source: 'an IPAM plugin that is broken must not break the pod in a way that nobody can read',
    expected: 'ADD fails with an error of its own when the IPAM plugin succeeds and prints no result.',
    run: async ({ stage, delegate, runtime }) => {
      await delegate.answer('ADD', { stdout: 'this is no result', exitCode: 0 })
      const pod = await stage.pod({ runtime })
      const added = await runtime.add(pod.attachment)
      stage.expectFailure(added)
      stage.expect(added.decisive.printed.kind === 'document', describeOutcome(added.decisive))
    },
  }),
  delegated({
    id: 'O4.stderr-forwarded',
    basis: 'should',
    source: `${SPEC.delegation}: "Ensure that the delegated plugin's stderr is output to the calling plugin's stderr"`,
    expected: "The IPAM plugin's stderr comes out of the plugin's own.",
    run: async ({ stage, runtime }) => {
      await stage.added({ runtime })
      const stderr = stage.outcomes.map(outcome => outcome.stderr).join('')
      stage.expect(stderr.includes(`${DELEGATE} was called with ADD`), `stderr was ${JSON.stringify(stderr)}`)
    },
  }),
  delegated({
    id: 'D3.delegate-called',
    basis: 'must',
    source: MUST_EXECUTE,
    expected: 'DEL executes the IPAM plugin.',
    run: async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      stage.expectSuccess(await runtime.del(pod.attachment, pod.result))
      await callWith(stage, delegate, 'DEL')
    },
  }),
  delegated({
    id: 'D3.delegate-called-netns-gone',
    basis: 'must',
    source: `${MUST_EXECUTE} Section 2, "DEL": also "if the container network namespace [...] no longer exist[s]"`,
    expected: 'DEL executes the IPAM plugin also when the namespace is gone and CNI_NETNS is empty.',
    leftoversAskedBy: 'D4.netns-empty',
    run: async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      await stage.deleteNetns(pod)
      await runtime.del({ ...pod.attachment, netnsPath: '' }, pod.result)
      await callWith(stage, delegate, 'DEL')
    },
  }),
  delegated({
    id: 'D3.delegate-failed',
    basis: 'should',
    source: MUST_EXECUTE,
    expected: 'DEL fails when the IPAM plugin fails.',
    run: async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      await delegate.answer('DEL', { stdout: JSON.stringify(REFUSAL), exitCode: 1 })
      const outcome = await runtime.del(pod.attachment, pod.result)
      await delegate.answer('DEL', {})
      await expectPassedOn({ stage, delegate }, { verb: 'DEL', outcome })
    },
  }),
  delegated({
    id: 'D5.interface-before-address',
    basis: 'lesson',
    source: 'an address that is free while its old interface still answers is given to a second pod',
    expected: 'DEL takes the interface away before it gives the address back.',
    run: async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      await runtime.del(pod.attachment, pod.result)
      const call = await callWith(stage, delegate, 'DEL')
      stage.expect(
        call?.isInterfaceThere !== true,
        `${stage.ifName} was there while the delegate was executed with DEL`,
      )
    },
  }),
  delegated({
    id: 'D7.goes-on',
    basis: 'lesson',
    source: 'one step that fails must not keep the others from being done',
    expected: 'DEL takes the interface away although the IPAM plugin fails.',
    run: async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      await delegate.answer('DEL', { stdout: JSON.stringify(REFUSAL), exitCode: 1 })
      await runtime.del(pod.attachment, pod.result)
      const names = (await linksOf(pod.netns)).map(({ name }) => name)
      stage.expect(!names.includes(stage.ifName), `interfaces in the pod: ${names.join(', ')}`)
      await delegate.answer('DEL', {})
    },
  }),
]
