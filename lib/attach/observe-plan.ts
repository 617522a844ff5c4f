import type { Kernel } from '../plan/kernel.ts'
import { settingKey } from '../plan/observed.ts'
import type { Plan } from '../plan/operation.ts'

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
