import type { Netns } from './namespace.ts'

/** Sets a setting of a namespace until it is disposed. */
export async function setSysctl(netns: Netns, ...[key, value]: [string, string]): Promise<AsyncDisposable> {
  const before = (await netns.run(['sysctl', '-n', key])).trim()
  await netns.run(['sysctl', '-q', '-w', `${key}=${value}`])
  return {
    async [Symbol.asyncDispose]() {
      await netns.run(['sysctl', '-q', '-w', `${key}=${before}`])
    },
  }
}
