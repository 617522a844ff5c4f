import { setFlagsFromString } from 'node:v8'

/**
 * Keeps the space for new objects of this process at its first size, a megabyte. It would grow to thirty times that while a daemon
 * reads what it begins with, and the memory is not given back. V8 reads the flag whenever it is about to let it grow.
 */
export function keepHeapSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1')
}
