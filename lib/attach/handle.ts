import type { NetworkConfiguration } from '../cni/configuration.ts'
import { renderResult } from '../cni/result.ts'
import { parseTulleConfiguration } from '../cni/tulle-configuration.ts'
import type { Deadline } from '../time/deadline.ts'
import { add } from './add.ts'
import { attachmentOf, type AttachmentCall, type Call } from './call.ts'
import { check } from './check.ts'
import { del } from './del.ts'
import type { Edges } from './edges.ts'
import { gc } from './gc.ts'
import { runPlugin, type Outcome, type Run, type VerbInvocation } from './plugin-run.ts'
import { status } from './status.ts'

/** Well below the two minutes that the kubelet waits (R4). */
const BUDGET_MS = { ADD: 30_000, DEL: 30_000, CHECK: 15_000, GC: 60_000, STATUS: 5_000 } as const

/** Performs one run of the plugin `tulle`, in the executable or in the daemon. Throws nothing but Declined: see runPlugin. */
export function handle(run: Run, edges: Edges): Promise<Outcome> {
  return runPlugin(run, {
    about: 'CNI plugin of Tulle: attaches a container to a routed pod network',
    budgetMs: BUDGET_MS,
    perform: (invocation, network, by) =>
      perform(invocation, network, { edges, by, askedAtUnixMs: askedAtOf(run.env) }),
  })
}

interface Host {
  readonly edges: Edges
  readonly by: Deadline
  readonly askedAtUnixMs: number | undefined
}

async function perform(
  invocation: VerbInvocation,
  network: NetworkConfiguration,
  on: Host,
): Promise<object | undefined> {
  const { edges, by, askedAtUnixMs } = on
  const { command, cniPath } = invocation
  // What takes things down must not fail on what a newer or an older configuration says about putting them up (D6).
  const lenient = command === 'DEL' || command === 'GC'
  const own = parseTulleConfiguration(network, { lenient })
  const call: Call = { network, own, cniPath, askedAtUnixMs }
  edges.admit?.(call)
  switch (command) {
    case 'ADD':
      return renderResult(await add(attachmentCall(call, invocation), edges, by), network.cniVersion)
    case 'CHECK':
      return void (await check(attachmentCall(call, invocation), edges, by))
    case 'DEL':
      return void (await del(attachmentCall(call, invocation), edges, by))
    case 'GC':
      return void (await gc(call, edges, by))
    case 'STATUS':
      return void (await status(call, edges, by))
  }
}

function attachmentCall(call: Call, invocation: AttachmentCall['invocation']): AttachmentCall {
  return { ...call, invocation, attachment: attachmentOf(call.network, invocation) }
}

/** What the launcher says in TULLE_ASKED_AT: see Call. Anything but a moment is not from it. */
function askedAtOf({ TULLE_ASKED_AT: text }: Run['env']): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}
