import type { IncomingMessage } from 'node:http'
import { IpamProblem } from '../../lib/ipam/errors.ts'
import { MAX_BODY_BYTES } from '../../lib/ipam/protocol.ts'

// What is read and thrown away of a body that is too large. A caller that still writes can't read the answer.
const MAX_DISCARDED_BYTES = 16 * 1024 * 1024

/** Reads a JSON body of at most MAX_BODY_BYTES. @throws {IpamProblem} unsupported-media-type, too-large or bad-request. */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  const type = request.headers['content-type'] ?? ''
  const bytes = await readBody(request)
  // Looked at only now: the body must have been read before the answer is sent.
  if (type.split(';')[0]?.trim().toLowerCase() !== 'application/json') {
    throw new IpamProblem('unsupported-media-type', `content-type ${JSON.stringify(type)}: want application/json`)
  }
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new IpamProblem('bad-request', `the body is not JSON: ${(cause as Error).message}`, { cause })
  }
}

/** Reads a body of at most MAX_BODY_BYTES. @throws {IpamProblem} too-large, or bad-request when it is cut off. */
export function readBody(request: IncomingMessage): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const tooLarge = () => new IpamProblem('too-large', `the body has more than ${MAX_BODY_BYTES} bytes`)
  const chunks: Buffer[] = []
  let length = 0
  request.on('data', (chunk: Buffer) => {
    length += chunk.length
    if (length <= MAX_BODY_BYTES) chunks.push(chunk)
    else if (length > MAX_DISCARDED_BYTES) {
      request.pause()
      reject(tooLarge())
    }
  })
  request.on('end', () => (length > MAX_BODY_BYTES ? reject(tooLarge()) : resolve(Buffer.concat(chunks))))
  // The caller has gone away, or has taken too long: nobody reads the answer.
  const refuse = (cause: Error) =>
    reject(new IpamProblem('bad-request', `the body ended after ${length} bytes: ${cause.message}`, { cause }))
  request.on('error', refuse)
  request.on('close', () => {
    if (!request.complete) refuse(new Error('closed'))
  })
  return promise
}
