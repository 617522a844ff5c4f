import type { IfName } from '../net/if-name.ts'
import type { Kernel } from '../plan/kernel.ts'
import { settingKey, type ObservedShaping, type ObservedState } from '../plan/observed.ts'
import type { AddShaper, Operation, Plan, RedirectIngress } from '../plan/operation.ts'
import type { Deadline } from '../time/deadline.ts'

/** Reads the settings that `plan` speaks of, for ObservedState.settings. */
export function observeSettings(kernel: Kernel, plan: Plan): ReadonlyMap<string, string> {
  const settings = new Map<string, string>()
  for (const operation of plan) {
    if (operation.do !== 'set-sysctl') continue
    const value = kernel.readSysctl(operation.at, operation.key)
    if (value !== undefined) settings.set(settingKey(operation.at, operation.key), value)
  }
  return settings
}

/** Reads how the links are shaped that `plan` shapes; asks nothing where it shapes none. */
export async function observeShapingOf(
  kernel: Kernel,
  plan: Plan,
  by: Deadline,
): Promise<Pick<ObservedState, 'ifb' | 'shaping'>> {
  const names = new Set(plan.flatMap(each => (isShaping(each) ? [each.link] : [])))
  const ifb = plan.find(operation => operation.do === 'add-ifb')
  const shaping = new Map<IfName, ObservedShaping>()
  for (const name of names) shaping.set(name, await kernel.observeShaping(name, by))
  return { shaping, ...(ifb === undefined ? {} : { ifb: await kernel.observeInterface('host', ifb.link, by) }) }
}

function isShaping(operation: Operation): operation is AddShaper | RedirectIngress {
  return operation.do === 'add-shaper' || operation.do === 'redirect-ingress'
}
