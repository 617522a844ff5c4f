import type { Check } from '../check.ts'
import { addChecks } from './add.ts'
import { askingChecks } from './asking.ts'
import { capabilityChecks } from './capability.ts'
import { chainChecks } from './chain.ts'
import { brokenChecks } from './check-broken.ts'
import { checkVerbChecks } from './check-verb.ts'
import { collectChecks } from './collect.ts'
import { configurationChecks } from './configuration.ts'
import { crowdChecks } from './crowd.ts'
import { delegationAttachChecks } from './delegation-attach.ts'
import { delegationVerbChecks } from './delegation-verbs.ts'
import { deleteChecks } from './delete.ts'
import { environmentChecks } from './environment.ts'
import { outputChecks } from './output.ts'
import { resultChecks } from './result.ts'
import { statusChecks } from './status.ts'
import { versionChecks } from './version.ts'

/** Every check, in the order in which they run. Those of output come last: they look at what all the others have seen. */
export const ALL_CHECKS: readonly Check[] = [
  ...versionChecks,
  ...environmentChecks,
  ...askingChecks,
  ...configurationChecks,
  ...addChecks,
  ...resultChecks,
  ...deleteChecks,
  ...checkVerbChecks,
  ...brokenChecks,
  ...collectChecks,
  ...statusChecks,
  ...delegationAttachChecks,
  ...delegationVerbChecks,
  ...chainChecks,
  ...capabilityChecks,
  ...crowdChecks,
  ...outputChecks,
]

/**
 * The checks that `only` names: an id (`K2.mac`), a number (`K2`), an area (`K`) or a basis (`must`). All of them when it is
 * empty.
 *
 * @throws {Error} for a word that names none.
 */
export function selectChecks(only: readonly string[]): readonly Check[] {
  if (only.length === 0) return ALL_CHECKS
  for (const word of only) {
    if (!ALL_CHECKS.some(check => isNamedBy(check, word))) throw new Error(`--only ${word}: names no check`)
  }
  return ALL_CHECKS.filter(check => only.some(word => isNamedBy(check, word)))
}

function isNamedBy({ id, basis }: Check, word: string): boolean {
  return id === word || id.startsWith(`${word}.`) || id.charAt(0) === word || basis === word
}
