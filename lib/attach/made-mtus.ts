import type { ResultInterface } from '../cni/result.ts'
import type { IfName } from '../net/if-name.ts'
import type { Kernel } from '../plan/kernel.ts'
import type { Deadline } from '../time/deadline.ts'

interface MadeEnds {
  readonly made: { readonly host: ResultInterface; readonly pod: ResultInterface }
  /** What the configuration says. */
  readonly asked: number | undefined
  readonly names: { readonly hostIfName: IfName; readonly podIfName: IfName }
  readonly by: Deadline
}

/** The MTUs that both ends ought to have. Before 1.1.0 a result does not say: what cannot be known is taken as found. */
export async function mtusOf(kernel: Kernel, { made, asked, names, by }: MadeEnds) {
  const hostMtu = made.host.mtuBytes ?? asked ?? (await kernel.observeLink('host', names.hostIfName, by))?.mtuBytes
  const podMtu = made.pod.mtuBytes ?? (await kernel.observeLink('pod', names.podIfName, by))?.mtuBytes
  return { hostMtu, podMtu }
}
