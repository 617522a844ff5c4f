import { quoteText } from '../net/quote-text.ts'
import { CniError, ErrorCode } from './errors.ts'

/** Longest container ID, in bytes (it is ASCII). Runtimes use 64. */
export const MAX_CONTAINER_ID_BYTES = 128

/**
 * Longest network name, in bytes (it is ASCII).
 *
 * The owner text in an interface's alias, at its longest "tulle/1 adding <ifName> <containerId> <network>", has to fit the
 * 255 bytes that the kernel keeps: 15 + 15 + 1 + 128 + 1 + 95 = 255.
 */
export const MAX_NETWORK_NAME_BYTES = 95

/** CNI 1.1.0, section 2, "Parameters": the characters of a container ID; of a network name too. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/

/** How strictly a name is read. */
export interface NameOptions {
  /**
   * Takes a name of any length. For DEL: the bounds are ours, so a runtime may well ask to delete what ADD refused, and a DEL
   * that fails would keep the container for ever (checklist D2, R12).
   */
  readonly lenient?: boolean
}

/**
 * Checks a container ID (checklist E4).
 *
 * @throws {CniError} code 4.
 */
export function parseContainerId(text: string, { lenient = false }: NameOptions = {}): string {
  if (!NAME.test(text)) {
    throw new CniError(ErrorCode.invalidEnvironment, 'invalid characters in containerID', {
      details: `CNI_CONTAINERID is ${quoteText(text)}; want letters, digits, "_", "." and "-", a letter or digit first`,
    })
  }
  if (text.length > MAX_CONTAINER_ID_BYTES && !lenient) {
    throw new CniError(
      ErrorCode.invalidEnvironment,
      `Cannot use CNI_CONTAINERID ${quoteText(text)}: want at most ${MAX_CONTAINER_ID_BYTES} bytes`,
    )
  }
  return text
}

/**
 * Checks the name of a network (checklist E6).
 *
 * @throws {CniError} code 7.
 */
export function parseNetworkName(text: string, { lenient = false }: NameOptions = {}): string {
  if (text === '') throw new CniError(ErrorCode.invalidConfig, 'missing network name')
  if (!NAME.test(text)) {
    throw new CniError(ErrorCode.invalidConfig, 'invalid characters found in network name', {
      details: `name is ${quoteText(text)}; want letters, digits, "_", "." and "-", a letter or digit first`,
    })
  }
  if (text.length > MAX_NETWORK_NAME_BYTES && !lenient) {
    throw new CniError(
      ErrorCode.invalidConfig,
      `Cannot use name ${quoteText(text)}: want a network name of at most ${MAX_NETWORK_NAME_BYTES} bytes`,
    )
  }
  return text
}
