import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type JsonObject, isObject } from '../../e2e/netns/harness/json.ts'
import { familyOf } from '../address.ts'
import { type Check, NotApplicable, SPEC, Unmet } from '../check.ts'
import { DELEGATE, Delegate, type DelegateCall } from '../fixture/delegate.ts'
import { ipsOf } from '../result.ts'
import type { ChainOutcome, Runtime } from '../runtime.ts'
import type { Stage } from '../stage.ts'

export const MUST_EXECUTE = `${SPEC.delegation}: "If a plugin is executed with CHECK, DEL, or GC, it must also execute any delegated plugins. If any of the delegated plugins return error, error should be returned by the upper plugin."`

/** What the IPAM plugin says when it is to fail. */
export const REFUSAL = { cniVersion: '1.0.0', code: 123, msg: 'the delegate refuses' }

interface Delegation {
  readonly stage: Stage
  /** The address that the delegate gives, without a length. */
  readonly address: string
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
      const ip = await addressToGive(stage)
      await delegate.answer('ADD', { stdout: JSON.stringify(ipamResult(runtime.list.cniVersion, ip)) })
      await stage.prime({ runtime })
      await delegate.forgetCalls()
      await run({ stage, delegate, runtime, address: ip.address.replace(/\/.*/, '') })
    },
  }
}

function withDelegate(conflist: JsonObject): JsonObject {
  const [plugin, ...others] = Array.isArray(conflist['plugins']) ? conflist['plugins'] : []
  if (!isObject(plugin)) throw new Unmet('plugins: want at least one object')
  return { ...conflist, plugins: [{ ...plugin, ipam: { type: DELEGATE } }, ...others] }
}

/** An address as an IPAM plugin gives it. */
interface GivenIp {
  readonly address: string
  readonly gateway: string
}

/** Of a documentation range, for a plugin that takes any address. */
const ANY_IP: GivenIp = { address: '203.0.113.7/24', gateway: '203.0.113.1' }

/**
 * What the delegate is to give: an address with a gateway that the network's own IPAM plugin has given and taken back. One of
 * another subnet would be refused for good reasons, by a bridge that has the address of the gateway already. Where pods get bare
 * addresses without a subnet, any will do.
 */
async function addressToGive(stage: Stage): Promise<GivenIp> {
  const pod = await stage.added()
  await stage.runtime.del(pod.attachment, pod.result)
  const own = ipsOf(pod.result).flatMap(({ address, gateway }) =>
    typeof address === 'string' && typeof gateway === 'string' ? [{ address, gateway }] : [],
  )
  return own.find(({ address }) => familyOf(address) === 'ipv4' && !address.endsWith('/32')) ?? ANY_IP
}

/** What an IPAM plugin gives in `cniVersion`: one address, and a default route. */
function ipamResult(cniVersion: string, ip: GivenIp): JsonObject {
  const isOld = cniVersion.startsWith('0.')
  return { cniVersion, ips: [{ ...(isOld ? { version: '4' } : {}), ...ip }], routes: [{ dst: '0.0.0.0/0' }], dns: {} }
}

/**
 * Holds that the plugin failed because the delegate did.
 *
 * @throws {NotApplicable} when the delegate was not executed at all: that is another check's to say.
 */
export async function expectPassedOn(
  { stage, delegate }: Pick<Delegation, 'stage' | 'delegate'>,
  { verb, outcome }: { readonly verb: string; readonly outcome: ChainOutcome },
): Promise<void> {
  const isExecuted = (await delegate.calls()).some(call => call.verb === verb)
  if (!isExecuted) throw new NotApplicable(`the delegate was not executed with ${verb}`)
  stage.expectFailure(outcome)
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
