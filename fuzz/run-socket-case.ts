import { once } from 'node:events'
import { connect } from 'node:net'
import { send } from '../ipamd/test-request.ts'
import type { TestDaemon } from '../ipamd/api/test-daemon.ts'
import { PATHS } from '../lib/ipam/protocol.ts'
import type { CaseReport } from './run-plugin-case.ts'
import type { SocketCase } from './socket-case.ts'

/** More than the daemon's own limits of time, which end what a client never ends. */
const TIMEOUT_MS = 20_000

/** 421 is said to a launcher: the plugin has to do that call itself. */
const STATUSES = new Set([200, 400, 403, 404, 405, 408, 409, 413, 415, 421, 431, 503, 507])

/**
 * Writes one case to the socket of a daemon, closes the writing side, and says what is wrong with what comes back, with the
 * daemon's log, and with its leases when the request was refused.
 */
export async function runSocketCase({ sent }: SocketCase, daemon: TestDaemon): Promise<CaseReport> {
  const before = await stateOf(daemon)
  const logged = daemon.log.length
  const answer = await exchange(daemon.socket, Buffer.from(sent, 'latin1'))
  const bugs = daemon.log.slice(logged).filter(line => /request failed|"level":"(?:error|fatal)"/.test(line))
  const { status, problems } = judgeAnswer(answer)
  const isRefused = status === undefined || status >= 400
  const after = await stateOf(daemon)
  const left = isRefused && after !== before ? [`a refused request left behind: ${after}, before ${before}`] : []
  return { outcome: `socket ${status ?? 'closed'}`, problems: [...problems, ...bugs, ...left] }
}

async function exchange(socketPath: string, bytes: Buffer): Promise<string | undefined> {
  const socket = connect({ path: socketPath, allowHalfOpen: true })
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  // Being dropped is one of the answers; when is what matters.
  socket.on('error', () => {})
  socket.on('end', () => socket.end())
  socket.end(bytes)
  const closed = await once(socket, 'close', { signal: AbortSignal.timeout(TIMEOUT_MS) }).catch(() => undefined)
  socket.destroy()
  return closed === undefined ? undefined : Buffer.concat(chunks).toString('latin1')
}

/** One HTTP response with a document of the right kind, or none at all. */
function judgeAnswer(answer: string | undefined): { readonly status?: number; readonly problems: readonly string[] } {
  if (answer === undefined) return { problems: [`no end of it in ${TIMEOUT_MS} ms`] }
  // A client may be told to go on before it is answered; it gets no answer when it ends in the middle of its body then.
  const final = answer.replace(/^HTTP\/1\.1 100 Continue\r\n\r\n/, '')
  if (final === '') return { problems: [] }
  const [head = '', ...rest] = final.split('\r\n\r\n')
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1])
  if (!STATUSES.has(status)) return { status, problems: [`status ${head.slice(0, 100)}`] }
  const body = rest.join('\r\n\r\n')
  const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1])
  const problems = body.length === 0 || length === body.length ? [] : [`${body.length} bytes, content-length ${length}`]
  if (status < 400 || body === '') return { status, problems }
  const isProblem = /^content-type: application\/problem\+json$/im.test(head)
  const stack = /\\n\s+at |\[object |is not a function|Cannot read propert/.exec(body)
  return {
    status,
    problems: [
      ...problems,
      ...(isProblem ? [] : [`an error of another type: ${head}`]),
      ...(stack === null ? [] : [`a message with ${JSON.stringify(stack[0])}`]),
    ],
  }
}

/** What requests change: leases and reservations. Asking also shows that the daemon still answers. */
async function stateOf({ socket }: TestDaemon): Promise<string> {
  const answers = await Promise.all([PATHS.leases, PATHS.reservations].map(path => send(socket, { path })))
  return JSON.stringify(answers.map(({ body }) => body))
}
