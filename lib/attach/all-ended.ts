/**
 * The results of `tasks`, which run at once.
 *
 * Unlike Promise.all() it does not leave one behind that still runs when another has failed: what comes after, such as giving a
 * lock back, must not meet it.
 *
 * @throws the failure of the first in their order that failed, when all have ended.
 */
export async function allEnded<T extends readonly Promise<unknown>[]>(
  tasks: readonly [...T],
): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  await Promise.allSettled(tasks)
  return await Promise.all(tasks)
}
