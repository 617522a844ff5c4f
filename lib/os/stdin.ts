import { isUtf8 } from 'node:buffer'
import { readSync } from 'node:fs'
import type { NativeAddon } from '../../native/addon.ts'
import { CniError, ErrorCode } from '../cni/errors.ts'
import type { Deadline } from '../time/deadline.ts'
import { isErrnoException } from './durable-file.ts'

/** The largest configuration that is read. The annotations of a pod, the largest part by far, have at most 256 KiB. */
export const MAX_STDIN_BYTES = 1024 * 1024

const CHUNK_BYTES = 64 * 1024

/** What readStdin has to know. */
export interface StdinOptions {
  readonly addon: Pick<NativeAddon, 'waitReadable'>
  readonly fd: number
  readonly by: Deadline
}

/**
 * Reads standard input to its end, as UTF-8.
 *
 * @throws {CniError} code 5 when it is longer than 1 MiB (the rest is not read), does not end in time, or cannot be read;
 *   code 6 when it is not UTF-8.
 */
export function readStdin({ addon, fd, by }: StdinOptions): string {
  const chunks: Buffer[] = []
  for (let length = 0; ;) {
    if (!addon.waitReadable(fd, by.remainingMs())) throw failed('it did not end in time')
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
    const read = readChunk(fd, chunk)
    if (read === 0) return decodeStdin(Buffer.concat(chunks))
    length += read
    if (length > MAX_STDIN_BYTES) throw failed(`it has more than ${MAX_STDIN_BYTES} bytes`)
    chunks.push(chunk.subarray(0, read))
  }
}

/**
 * The text of standard input, which came some other way.
 *
 * Bytes that are no text would turn into other text unseen, and a delegated plugin would get that (RFC 8259, section 8.1).
 *
 * @throws {CniError} code 6.
 */
export function decodeStdin(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString()
  throw new CniError(ErrorCode.decode, 'Cannot decode standard input: it is not UTF-8')
}

function readChunk(fd: number, chunk: Buffer): number {
  try {
    return readSync(fd, chunk)
  } catch (cause) {
    if (isErrnoException(cause) && cause.code === 'EOF') return 0
    throw failed(cause instanceof Error ? cause.message : String(cause), cause)
  }
}

function failed(reason: string, cause?: unknown): CniError {
  return new CniError(ErrorCode.io, `Cannot read the configuration from standard input: ${reason}`, { cause })
}
