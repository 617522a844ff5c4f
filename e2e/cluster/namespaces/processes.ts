import { readFile } from 'node:fs/promises'

/** The only child of a process; undefined when it has none yet, or is gone. @throws {Error} when it has more. */
export async function onlyChildOf(pid: number): Promise<number | undefined> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(unlessGone)
  const children = text?.trim().split(/\s+/).filter(Boolean) ?? []
  if (children.length > 1) throw new Error(`process ${pid} has ${children.length} children, want one`)
  return children[0] === undefined ? undefined : Number(children[0])
}

/** Whether the process is process 1 of its pid namespace. */
export async function isInit(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(unlessGone)
  // Its numbers from our namespace inwards (proc_pid_status(5)).
  return status !== undefined && /^NSpid:.*\t1$/m.test(status)
}

/** Whether the process exists and is not only waiting to be reaped. */
export async function isRunning(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(unlessGone)
  // The state is the first field after the name, which may hold anything but ends with the last parenthesis.
  return stat !== undefined && !stat.slice(stat.lastIndexOf(')')).startsWith(') Z')
}

function unlessGone(cause: unknown): undefined {
  if (cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ESRCH')) return undefined
  throw cause
}
