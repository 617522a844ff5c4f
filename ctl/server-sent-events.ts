/** The longest line that is kept: events of ipamd have some 500 bytes. */
const MAX_LINE_LENGTH = 64 * 1024

/** A stream that is not server-sent events. */
export class BrokenStream extends Error {
  override readonly name = 'BrokenStream'
}

export interface ServerSentEvent {
  /** 'message' when the stream gives none. */
  readonly name: string
  readonly data: string
}

/**
 * The events in a stream of server-sent events (HTML Living Standard, section 9.2.6), as far as ipamd uses them: comments, which
 * keep the connection alive, and ids, which the data has too, are passed over.
 *
 * @throws {BrokenStream} for a line that is too long.
 */
export async function* readServerSentEvents(chunks: AsyncIterable<string>): AsyncGenerator<ServerSentEvent> {
  let rest = ''
  let name = 'message'
  let data: string[] = []
  for await (const chunk of chunks) {
    const lines = `${rest}${chunk}`.split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > MAX_LINE_LENGTH) throw new BrokenStream(`a line of more than ${MAX_LINE_LENGTH} characters`)
    for (const line of lines.map(withoutReturn)) {
      if (line.startsWith('data:')) data.push(valueOf(line))
      if (line.startsWith('event:')) name = valueOf(line)
      if (line !== '') continue
      // An event without data is none.
      if (data.length > 0) yield { name, data: data.join('\n') }
      name = 'message'
      data = []
    }
  }
}

function valueOf(line: string): string {
  return line.slice(line.indexOf(':') + 1).replace(/^ /, '')
}

function withoutReturn(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line
}
