import { request, type IncomingMessage } from 'node:http'
import { IpamProblem, IpamUnavailable, parseProblem } from '../lib/ipam/errors.ts'
import { BrokenStream, readServerSentEvents } from './server-sent-events.ts'

/** ipamd sends something every ten seconds. */
const SILENCE_MS = 60_000
/** More of a refusal is not read. */
const MAX_PROBLEM_CHARACTERS = 64 * 1024

export interface Follow {
  readonly socketPath: string
  readonly path: string
  /** For the beginning of the answer. */
  readonly timeoutMs: number
}

/** One event of a stream. */
export interface StreamedDocument {
  readonly name: string
  readonly document: object
}

/**
 * The events of a change stream of ipamd, parsed as JSON, for as long as they are asked for.
 *
 * @throws {IpamProblem} for a refusal, {IpamUnavailable} when the stream ends, breaks, or is silent for a minute.
 */
export async function* follow({ socketPath, path, timeoutMs }: Follow): AsyncGenerator<StreamedDocument> {
  try {
    const response = await open({ socketPath, path, timeoutMs })
    response.setEncoding('utf8')
    if (response.statusCode !== 200) throw parseProblem(JSON.parse(await textOf(response)))
    for await (const { name, data } of readServerSentEvents(response)) yield { name, document: parseData(data) }
  } catch (cause) {
    if (cause instanceof IpamProblem) throw cause
    const reason = cause instanceof BrokenStream ? cause.message : reasonOf(cause)
    throw new IpamUnavailable(socketPath, `the stream of events broke: ${reason}`, { cause })
  }
  throw new IpamUnavailable(socketPath, 'the stream of events ended')
}

function open({ socketPath, path, timeoutMs }: Follow): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { host: 'ipamd', accept: 'text/event-stream', connection: 'close' }
    const sent = request({ socketPath, path, headers, timeout: timeoutMs }, response => {
      sent.setTimeout(SILENCE_MS)
      resolve(response)
    })
    // After the answer has begun this breaks it, and the reader of the answer learns of it.
    sent.on('timeout', () => sent.destroy(new Error('no answer in time')))
    sent.on('error', reject)
    sent.end()
  })
}

function parseData(data: string): object {
  const event: unknown = JSON.parse(data)
  if (typeof event !== 'object' || event === null) throw new BrokenStream('an event that is no JSON object')
  return event
}

async function textOf(response: AsyncIterable<string>): Promise<string> {
  let text = ''
  for await (const chunk of response) {
    text += chunk
    if (text.length > MAX_PROBLEM_CHARACTERS) throw new BrokenStream('a refusal that is too long')
  }
  return text
}

function reasonOf(cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException
  return code ?? message
}
