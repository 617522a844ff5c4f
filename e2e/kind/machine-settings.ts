import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Settings of the whole machine that a kubelet changes, whatever container it runs in: they outlive the cluster. */
const KEYS = [
  'kernel/keys/root_maxbytes',
  'kernel/keys/root_maxkeys',
  'kernel/panic',
  'kernel/panic_on_oops',
  'vm/overcommit_memory',
  'vm/panic_on_oom',
]

/** Remembers them as they are now, and writes them back when it is disposed of. */
export async function keepMachineSettings(): Promise<AsyncDisposable> {
  const values = await Promise.all(
    KEYS.map(async key => [key, await readFile(join('/proc/sys', key), 'utf8')] as const),
  )
  return {
    async [Symbol.asyncDispose]() {
      for (const [key, value] of values) await writeFile(join('/proc/sys', key), value)
    },
  }
}
