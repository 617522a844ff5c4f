import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type JsonObject, isObject } from '../../e2e/netns/harness/json.ts'
import { type Check, SPEC, Unmet } from '../check.ts'
import { DELEGATE, Delegate, type DelegateCall } from '../fixture/delegate.ts'
import type { Runtime } from '../runtime.ts'
import type { Stage } from '../stage.ts'

export const MUST_EXECUTE = `${SPEC.delegation}: "If a plugin is executed with CHECK, DEL, or GC, it must also execute any delegated plugins. If any of the delegated plugins return error, error should be returned by the upper plugin."`

/** What the IPAM plugin says when it is to fail. */
export const REFUSAL = { cniVersion: '1.0.0', code: 123, msg: 'the delegate refuses' }

interface Delegation {
  readonly stage: Stage
  readonly delegate: Delegate
  readonly runtime: Runtime
}

/** A check of a plugin that delegates IPAM to `Delegate`. */
interface DelegationCheck extends Pick<Check, 'id' | 'basis' | 'source' | 'expected' | 'leftoversAskedBy'> {
  /** The verb that the network has to have. */
  readonly verb?: 'CHECK' | 'GC' | 'STATUS'
  readonly run: (delegation: Delegation) => Promise<void>
}

/** Makes a check of one that delegates: the network is the subject's with another IPAM plugin, primed, and no call noted yet. */
export function delegated({ verb, run, ...check }: DelegationCheck): Check {
  return {
    ...check,
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
      await stage.prime({ runtime })
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
export async function callWith(stage: Stage, delegate: Delegate, verb: string): Promise<DelegateCall | undefined> {
  const calls = await delegate.calls()
  const found = calls.filter(call => call.verb === verb)
  stage.expect(
    found.length > 0,
    `the delegate was not executed with ${verb}, only with ${calls.map(call => call.verb).join(', ') || 'nothing'}`,
  )
  return found[0]
}
