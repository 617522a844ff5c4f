import { type Check, NotApplicable, SPEC } from '../check.ts'
import type { JsonObject } from '../../e2e/netns/harness/json.ts'
import { describeOutcome } from '../outcome.ts'
import { addressesOf } from '../result.ts'
import type { ChainOutcome } from '../runtime.ts'
import type { Stage } from '../stage.ts'

/** Where the same thing can be asked for in several places: which of them counts (CONVENTIONS). */
export const askingChecks: readonly Check[] = [
  {
    id: 'E8.args-before-cni-args',
    basis: 'should',
    source: `${SPEC.conventions.replace(/".*"/, '"CNI_ARGS"')}: "If a runtime passes an equivalent key via args [...] and the plugin understands args, the plugin must ignore the CNI_ARGS Field"`,
    expected: 'IP in CNI_ARGS is ignored when args.cni.ips asks for another address.',
    needs: ['addresses'],
    run: async stage => await winsOverCniArgs(stage, wanted => ({ keys: { args: { cni: { ips: [wanted] } } } })),
  },
  {
    id: 'E8.capability-before-cni-args',
    basis: 'our-reading',
    source: `${SPEC.conventions}: "Dynamic information [...] should be placed in a runtimeConfig section"; what CONVENTIONS say of args and CNI_ARGS goes for it too`,
    expected: 'IP in CNI_ARGS is ignored when the capability ips asks for another address.',
    needs: ['addresses'],
    run: async stage => await winsOverCniArgs(stage, wanted => ({ capabilities: { ips: [wanted] } })),
  },
]

/** A way to ask for an address. */
interface Request {
  readonly keys?: JsonObject
  readonly capabilities?: JsonObject
  readonly args?: string
}

/** Asks for two addresses at once, one of them by CNI_ARGS, after each way has been seen to work by itself. */
async function winsOverCniArgs(stage: Stage, request: (wanted: string) => Request): Promise<void> {
  const [first, second] = await freeAddresses(stage)
  const args = `IgnoreUnknown=1;IP=${second}`
  if (!isGiven(first, await ask(stage, request(first)))) throw new NotApplicable('the plugin gives no address that way')
  if (!isGiven(second, await ask(stage, { args }))) throw new NotApplicable('the plugin does not know IP in CNI_ARGS')
  const both = await ask(stage, { ...request(first), args })
  stage.expect(
    isGiven(first, both) && !isGiven(second, both),
    () => `asked for ${first}, and for ${second} by CNI_ARGS: ${describeOutcome(both.decisive)}`,
  )
}

/** Attaches a container that asks for something, and detaches it: what it was given is free again. */
async function ask(stage: Stage, { keys, capabilities, args }: Request): Promise<ChainOutcome> {
  const { attachment } = await stage.pod({
    attachment: { ...(capabilities && { capabilities }), ...(args && { args }) },
  })
  const added = await stage.runtime.add(attachment, keys)
  await stage.runtime.del(attachment, added.result)
  return added
}

/** Two addresses of one family that are certainly good and free: those that two pods have just given back. */
async function freeAddresses(stage: Stage): Promise<readonly [string, string]> {
  const pods = [await stage.added(), await stage.added()]
  for (const pod of pods) await stage.runtime.del(pod.attachment, pod.result)
  const [first, second] = pods.map(({ result }) => addressesOf(result)[0])
  if (first === undefined || second === undefined) throw new NotApplicable('the result has no address')
  return [first, second]
}

function isGiven(address: string, { result }: ChainOutcome): boolean {
  return result !== undefined && addressesOf(result).includes(address)
}
