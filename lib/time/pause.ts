/** Resolves after `ms` milliseconds, and at once when `signal` says stop. Who waits looks at the signal after it. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  if (signal.aborted) return Promise.resolve()
  const timer = setTimeout(done, ms)
  signal.addEventListener('abort', done)
  function done(): void {
    clearTimeout(timer)
    signal.removeEventListener('abort', done)
    resolve()
  }
  return promise
}
