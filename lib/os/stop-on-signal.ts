import type { Log } from '../log/json-log.ts'

/** The process, as far as stopping it goes. */
export type StoppableProcess = Pick<NodeJS.Process, 'on' | 'exitCode'>

export interface StopOnSignalOptions {
  readonly from: StoppableProcess
  readonly log: Log
}

/**
 * Closes `service` at the first SIGTERM or SIGINT; those that come while it closes change nothing. The process ends when
 * nothing is left to do, with exit code 1 when closing failed.
 */
export function stopOnSignal(service: { close(): Promise<void> }, { from, log }: StopOnSignalOptions): void {
  let isStopping = false
  for (const signal of ['SIGTERM', 'SIGINT'] as const) from.on(signal, stop)

  function stop(signal: NodeJS.Signals): void {
    if (isStopping) return
    isStopping = true
    log.info('stopping', { signal })
    service.close().then(
      () => log.info('stopped'),
      (failure: unknown) => {
        log.error('stopping failed', { error: failure })
        from.exitCode = 1
      },
    )
  }
}
