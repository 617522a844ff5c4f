import { setFlagsFromString } from 'node:v8'

/**
 * Keeps the heap of a daemon small. The space for new objects stays at its first size, a megabyte: it would grow to thirty times that
 * while the daemon reads what it begins with, and the memory is not given back. So little is collected by this thread in less time
 * than waking others takes. The space for old ones is cleared when it is half as large again as what was left in it: V8 would
 * wait until it is four times as large. V8 reads these flags whenever it is about to let a space grow, or to clear it.
 */
export function keepHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1')
  setFlagsFromString('--no-parallel-scavenge')
  setFlagsFromString('--heap-growing-percent=50')
}
