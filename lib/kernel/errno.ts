import { constants } from 'node:os'

/** Two names for one number, where the second is the one people know, and numbers that Linux has and node:os lacks. */
const CORRECTIONS: readonly (readonly [number, string])[] = [
  [11, 'EAGAIN'],
  [95, 'EOPNOTSUPP'],
  [65, 'ENOPKG'],
  [132, 'ERFKILL'],
  // Kernel-internal, yet drivers and nf_tables let them out.
  [512, 'ERESTARTSYS'],
  [524, 'ENOTSUPP'],
]

const NAMES: ReadonlyMap<number, string> = new Map([
  ...Object.entries(constants.errno).map(([name, errno]) => [errno, name] as const),
  ...CORRECTIONS,
])

/** The name of an errno, whatever its sign: `errnoName(-17)` is 'EEXIST'. An unknown one reads 'E4095'. */
export function errnoName(errno: number): string {
  return NAMES.get(Math.abs(errno)) ?? `E${Math.abs(errno)}`
}
