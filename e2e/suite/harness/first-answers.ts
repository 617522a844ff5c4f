import { until } from '../../cluster/until.ts'
import type { Kubernetes } from './kubernetes.ts'

const INTERVAL_SECONDS = 0.05
const LONGEST_SECONDS = 300
const ANSWERED_MS = 60_000

/**
 * Has a pod ping addresses that nobody has yet, twenty times a second from now on, each until its first answer (at most five minutes).
 *
 * Returns at once: the pod goes on by itself.
 */
export async function startAwaitingAnswers(
  kubernetes: Kubernetes,
  podName: string,
  addresses: readonly string[],
): Promise<void> {
  // grep ends with the first answer, and ping with the next one, which nobody reads.
  const script = `for address; do
    (timeout ${LONGEST_SECONDS} ping -n -D -i ${INTERVAL_SECONDS} "$address" 2>&1 | grep -m 1 ' bytes from ' >"/tmp/first-$address") </dev/null >/dev/null 2>&1 &
  done`
  await kubernetes.exec(podName, ['bash', '-c', script, 'bash', ...addresses])
}

/**
 * When the last of the addresses answered for the first time, in milliseconds since 1970 on the clock of the pod's machine.
 *
 * @throws {Error} naming an address that does not answer, after a minute.
 */
export async function firstAnswersUnixMs(
  kubernetes: Kubernetes,
  podName: string,
  addresses: readonly string[],
): Promise<number> {
  const times: number[] = []
  for (const address of addresses) {
    times.push(
      await until(
        `${address} to answer ${podName}`,
        async () => {
          const line = await kubernetes.exec(podName, ['cat', `/tmp/first-${address}`])
          const [, seconds] = /^\[(\d+\.\d+)\] /.exec(line) ?? []
          return seconds !== undefined && Number(seconds) * 1000
        },
        ANSWERED_MS,
      ),
    )
  }
  return Math.max(...times)
}
