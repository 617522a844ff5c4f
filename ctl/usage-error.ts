/** Arguments that tullectl refuses. The message names the argument, its value and what was wanted. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}
