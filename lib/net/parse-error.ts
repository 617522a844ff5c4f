/** Text or a value from outside that this code base refuses. The message names the text and what was wanted. */
export class ParseError extends Error {
  override readonly name = 'ParseError'
}
