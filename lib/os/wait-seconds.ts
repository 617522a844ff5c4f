/** Longer than an image takes to be pulled: what waits longer waits for something that does not come. */
export const MAX_WAIT_SECONDS = 3600

/** Reads how long a daemon may wait for the one before it. Undefined unless it is a whole number of seconds, at most an hour. */
export function parseWaitSeconds(text: string): number | undefined {
  if (!/^[0-9]{1,4}$/.test(text)) return undefined
  const seconds = Number(text)
  return seconds <= MAX_WAIT_SECONDS ? seconds : undefined
}
