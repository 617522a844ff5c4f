import { ParseError } from '../lib/net/parse-error.ts'
import { quoteText } from '../lib/net/quote-text.ts'

/** A pod as people name it. */
export interface PodName {
  readonly namespace: string
  readonly name: string
}

/** Reads `namespace/name`. @throws {ParseError} */
export function parsePodName(text: string): PodName {
  const [namespace, name, ...rest] = text.split('/')
  if (namespace === undefined || namespace === '' || name === undefined || name === '' || rest.length > 0) {
    throw new ParseError(`${quoteText(text)}: want NAMESPACE/NAME`)
  }
  return { namespace, name }
}
