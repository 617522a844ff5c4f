/** How a text stands out; the names are those of util.styleText(). */
export type Format = 'bold' | 'dim' | 'green' | 'yellow' | 'red'

/** Makes `text` stand out, where the reader can see that. */
export type Style = (format: Format, text: string) => string

/** For files, pipes and tests. */
export const PLAIN: Style = (_format, text) => text

/** What decides about colour. */
export interface ColourFacts {
  readonly isTerminal: boolean
  /** NO_COLOR, as https://no-color.org wants it: any text but the empty one turns colour off. */
  readonly noColor: string | undefined
}

export function wantsColour({ isTerminal, noColor }: ColourFacts): boolean {
  return isTerminal && (noColor === undefined || noColor === '')
}
