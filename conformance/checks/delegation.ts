import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type JsonObject, isObject } from '../../e2e/netns/harness/json.ts'
import { type Check, SPEC, Unmet } from '../check.ts'
import { DELEGATE, Delegate, type DelegateCall } from '../fixture/delegate.ts'
import { linksOf } from '../kernel.ts'
import { describeOutcome, wordsOf } from '../outcome.ts'
import { addressesOf } from '../result.ts'
import type { Runtime } from '../runtime.ts'
import type { Stage } from '../stage.ts'

const MUST_EXECUTE = `${SPEC.delegation}: "If a plugin is executed with CHECK, DEL, or GC, it must also execute any delegated plugins. If any of the delegated plugins return error, error should be returned by the upper plugin."`

/** What the IPAM plugin says when it is to fail. */
const REFUSAL = { cniVersion: '1.0.0', code: 123, msg: 'the delegate refuses' }

/** Delegation of IPAM (SPEC 1.1.0, section 4), with an IPAM plugin of the suite's own. */
export const delegationChecks: readonly Check[] = [
  delegated(
    'A8.delegate-called',
    'must',
    SPEC.delegation,
    'ADD executes the IPAM plugin with the environment and the whole configuration that it received, and uses what it gives.',
    async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      const call = await callWith(stage, delegate, 'ADD')
      if (call === undefined) return
      for (const name of ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH']) {
        const want = stage.outcomes.at(-1)?.env[name]
        stage.expect(
          call.env[name] === want,
          `${name} is ${JSON.stringify(call.env[name])} for the delegate, ${JSON.stringify(want)} for the plugin`,
        )
      }
      const sent: unknown = JSON.parse(call.stdin)
      const want = runtime.plugin
      const isWhole =
        isObject(sent) && Object.keys(want).every(key => JSON.stringify(sent[key]) === JSON.stringify(want[key]))
      stage.expect(isWhole && isObject(sent) && sent['name'] === runtime.list.name, `the delegate got ${call.stdin}`)
      const given = addressesOf(pod.result).map(address => address.replace(/\/.*/, ''))
      stage.expect(given.includes('203.0.113.7'), `the delegate gave 203.0.113.7, the result has ${given.join(', ')}`)
    },
  ),
  delegated(
    'A8.delegate-failed',
    'must',
    SPEC.delegation,
    'ADD fails when the IPAM plugin fails, and passes on what it said.',
    async ({ stage, delegate, runtime }) => {
      await delegate.answer('ADD', { stdout: JSON.stringify(REFUSAL), exitCode: 1 })
      const pod = await stage.pod({ runtime })
      const added = await runtime.add(pod.attachment)
      stage.expectFailure(added)
      stage.expect(
        wordsOf(added.decisive).includes(REFUSAL.msg),
        () => `not passed on: ${describeOutcome(added.decisive)}`,
      )
    },
  ),
  delegated(
    'A8.delegate-failed-del',
    'should',
    `${SPEC.delegation}: "If, on ADD, a delegated plugin fails, the upper plugin should execute again with DEL before returning failure"`,
    'After the IPAM plugin failed in ADD, it is executed with DEL.',
    async ({ stage, delegate, runtime }) => {
      await delegate.answer('ADD', { stdout: JSON.stringify(REFUSAL), exitCode: 1 })
      const pod = await stage.pod({ runtime })
      await runtime.add(pod.attachment)
      await callWith(stage, delegate, 'DEL')
    },
  ),
  delegated(
    'A9.rolled-back',
    'lesson',
    'an address that a failed ADD keeps is found weeks later, when none is left',
    'When ADD fails after the IPAM plugin gave an address, the plugin gives it back before it returns.',
    async ({ stage, delegate, runtime }) => {
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
  ),
  delegated(
    'A9.garbage-from-delegate',
    'lesson',
    'an IPAM plugin that is broken must not break the pod in a way that nobody can read',
    'ADD fails with an error of its own when the IPAM plugin succeeds and prints no result.',
    async ({ stage, delegate, runtime }) => {
      await delegate.answer('ADD', { stdout: 'this is no result', exitCode: 0 })
      const pod = await stage.pod({ runtime })
      const added = await runtime.add(pod.attachment)
      stage.expectFailure(added)
      stage.expect(added.decisive.printed.kind === 'document', describeOutcome(added.decisive))
    },
  ),
  delegated(
    'O4.stderr-forwarded',
    'should',
    `${SPEC.delegation}: "Ensure that the delegated plugin's stderr is output to the calling plugin's stderr"`,
    "The IPAM plugin's stderr comes out of the plugin's own.",
    async ({ stage, runtime }) => {
      await stage.added({ runtime })
      const stderr = stage.outcomes.map(outcome => outcome.stderr).join('')
      stage.expect(stderr.includes(`${DELEGATE} was called with ADD`), `stderr was ${JSON.stringify(stderr)}`)
    },
  ),
  delegated(
    'D3.delegate-called',
    'must',
    MUST_EXECUTE,
    'DEL executes the IPAM plugin.',
    async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      stage.expectSuccess(await runtime.del(pod.attachment, pod.result))
      await callWith(stage, delegate, 'DEL')
    },
  ),
  delegated(
    'D3.delegate-called-netns-gone',
    'must',
    `${MUST_EXECUTE} Section 2, "DEL": also "if the container network namespace [...] no longer exist[s]"`,
    'DEL executes the IPAM plugin also when the namespace is gone and CNI_NETNS is empty.',
    async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      await stage.deleteNetns(pod)
      await runtime.del({ ...pod.attachment, netnsPath: '' }, pod.result)
      await callWith(stage, delegate, 'DEL')
    },
  ),
  delegated(
    'D3.delegate-failed',
    'should',
    MUST_EXECUTE,
    'DEL fails when the IPAM plugin fails.',
    async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      await delegate.answer('DEL', { stdout: JSON.stringify(REFUSAL), exitCode: 1 })
      stage.expectFailure(await runtime.del(pod.attachment, pod.result))
      await delegate.answer('DEL', {})
    },
  ),
  delegated(
    'D5.interface-before-address',
    'lesson',
    'an address that is free while its old interface still answers is given to a second pod',
    'DEL takes the interface away before it gives the address back.',
    async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      await runtime.del(pod.attachment, pod.result)
      const call = await callWith(stage, delegate, 'DEL')
      stage.expect(
        call?.isInterfaceThere !== true,
        `${stage.ifName} was there while the delegate was executed with DEL`,
      )
    },
  ),
  delegated(
    'D7.goes-on',
    'lesson',
    'one step that fails must not keep the others from being done',
    'DEL takes the interface away although the IPAM plugin fails.',
    async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      await delegate.answer('DEL', { stdout: JSON.stringify(REFUSAL), exitCode: 1 })
      await runtime.del(pod.attachment, pod.result)
      const names = (await linksOf(pod.netns)).map(({ name }) => name)
      stage.expect(!names.includes(stage.ifName), `interfaces in the pod: ${names.join(', ')}`)
      await delegate.answer('DEL', {})
    },
  ),
  delegated(
    'K6.delegate-called',
    'must',
    MUST_EXECUTE,
    'CHECK executes the IPAM plugin.',
    async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      await runtime.check(pod.attachment, pod.result)
      await callWith(stage, delegate, 'CHECK')
    },
    'CHECK',
  ),
  delegated(
    'K6.delegate-failed',
    'should',
    MUST_EXECUTE,
    'CHECK fails when the IPAM plugin fails.',
    async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      await delegate.answer('CHECK', { stdout: JSON.stringify(REFUSAL), exitCode: 1 })
      stage.expectFailure(await runtime.check(pod.attachment, pod.result))
    },
    'CHECK',
  ),
  delegated(
    'G5.delegate-called',
    'must',
    `${SPEC.gc}: "Plugins MUST, additionally, forward any GC calls to delegated plugins they are configured to use"`,
    'GC executes the IPAM plugin, with the list of valid attachments.',
    async ({ stage, delegate, runtime }) => {
      const pod = await stage.added({ runtime })
      stage.expectSuccess(await runtime.gc([pod.attachment]))
      const call = await callWith(stage, delegate, 'GC')
      stage.expect(
        call === undefined || call.stdin.includes(pod.attachment.containerId),
        `the delegate got ${call?.stdin}`,
      )
    },
    'GC',
  ),
  delegated(
    'G4.delegate-failed',
    'should',
    `${SPEC.gc}: "should continue; removing as many resources as possible, and report the errors back to the runtime"`,
    'GC fails when the IPAM plugin fails.',
    async ({ stage, delegate, runtime }) => {
      await delegate.answer('GC', { stdout: JSON.stringify(REFUSAL), exitCode: 1 })
      stage.expectFailure(await runtime.gc([]))
    },
    'GC',
  ),
  delegated(
    'S4.delegate-called',
    'must',
    `${SPEC.status}: "it must also execute a STATUS request to that plugin"`,
    'STATUS executes the IPAM plugin.',
    async ({ stage, delegate, runtime }) => {
      stage.expectSuccess(await runtime.status())
      await callWith(stage, delegate, 'STATUS')
    },
    'STATUS',
  ),
  delegated(
    'S4.delegate-failed',
    'should',
    `${SPEC.status}: "If the delegated plugin return an error result, the executing plugin should return an error result"`,
    'STATUS fails when the IPAM plugin fails.',
    async ({ stage, delegate, runtime }) => {
      await delegate.answer('STATUS', { stdout: JSON.stringify({ ...REFUSAL, code: 50 }), exitCode: 1 })
      stage.expectFailure(await runtime.status())
    },
    'STATUS',
  ),
]

interface Delegation {
  readonly stage: Stage
  readonly delegate: Delegate
  readonly runtime: Runtime
}

function delegated(
  id: Check['id'],
  basis: Check['basis'],
  source: string,
  expected: string,
  run: (delegation: Delegation) => Promise<void>,
  verb?: 'CHECK' | 'GC' | 'STATUS',
): Check {
  return {
    id,
    basis,
    source,
    expected,
    ...(id === 'D3.delegate-called-netns-gone' ? { leftoversAskedBy: 'D4.netns-empty' as const } : {}),
    needs: ['ipam', ...(verb === undefined ? [] : [verb])],
    async run(stage) {
      const folder = await mkdtemp(join(tmpdir(), 'conformance-ipam-'))
      stage.atEnd(async () => await rm(folder, { recursive: true }))
      const delegate = await Delegate.create(folder)
      const runtime = stage.runtimeWith({
        conflist: withDelegate(stage.subject.conflist),
        cniPath: [folder, ...stage.subject.cniPath],
      })
      await delegate.answer('ADD', { stdout: JSON.stringify(ipamResult(runtime.list.cniVersion)) })
      await stage.prime(runtime)
      await delegate.forgetCalls()
      await run({ stage, delegate, runtime })
    },
  }
}

function withDelegate(conflist: JsonObject): JsonObject {
  const [plugin, ...others] = Array.isArray(conflist['plugins']) ? conflist['plugins'] : []
  if (!isObject(plugin)) throw new Unmet('plugins: want at least one object')
  return { ...conflist, plugins: [{ ...plugin, ipam: { type: DELEGATE } }, ...others] }
}

/** What an IPAM plugin gives in `cniVersion`: one address of a documentation range, and a default route. */
function ipamResult(cniVersion: string): JsonObject {
  const isOld = cniVersion.startsWith('0.')
  return {
    cniVersion,
    ips: [{ ...(isOld ? { version: '4' } : {}), address: '203.0.113.7/24', gateway: '203.0.113.1' }],
    routes: [{ dst: '0.0.0.0/0' }],
    dns: {},
  }
}

/** The first call with `verb`; notes a problem when there is none. */
async function callWith(stage: Stage, delegate: Delegate, verb: string): Promise<DelegateCall | undefined> {
  const calls = await delegate.calls()
  const found = calls.filter(call => call.verb === verb)
  stage.expect(
    found.length > 0,
    `the delegate was not executed with ${verb}, only with ${calls.map(call => call.verb).join(', ') || 'nothing'}`,
  )
  return found[0]
}
