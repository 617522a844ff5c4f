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

/**
 * Checks a container ID (checklist E4).
 *
 * @throws {CniError} code 4.
 */
export function parseContainerId(text: string): string {
  if (!NAME.test(text)) {
    throw new CniError(ErrorCode.invalidEnvironment, 'invalid characters in containerID', {
      details: `CNI_CONTAINERID is ${quoteText(text)}; want letters, digits, "_", "." and "-", a letter or digit first`,
    })
  }
  if (text.length > MAX_CONTAINER_ID_BYTES) {
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
export function parseNetworkName(text: string): string {
  if (text === '') throw new CniError(ErrorCode.invalidConfig, 'missing network name')
  if (!NAME.test(text)) {
    throw new CniError(ErrorCode.invalidConfig, 'invalid characters found in network name', {
      details: `name is ${quoteText(text)}; want letters, digits, "_", "." and "-", a letter or digit first`,
    })
  }
  if (text.length > MAX_NETWORK_NAME_BYTES) {
    throw new CniError(
      ErrorCode.invalidConfig,
      `Cannot use name ${quoteText(text)}: want a network name of at most ${MAX_NETWORK_NAME_BYTES} bytes`,
    )
  }
  return text
}
