import { fileURLToPath } from 'node:url'
import { type Command, CommandError } from '../../parts/command.ts'
import { Background } from './background.ts'
import type { Netns } from './namespace.ts'

/** The programs at the other end of a conversation, run inside a namespace. */
const UDP_PEER = fileURLToPath(new URL('udp-peer.ts', import.meta.url))
const TCP_PEER = fileURLToPath(new URL('tcp-peer.ts', import.meta.url))

/** An address and a port. */
export interface Endpoint {
  readonly address: string
  readonly port: number
}

/**
 * Sends echo requests until one is answered, at most `attempts` (1 when absent) a second apart, and returns its round-trip time
 * in milliseconds; `undefined` when none was answered or none could be sent for want of a route.
 *
 * @throws {CommandError} when ping itself cannot run.
 */
export async function ping(from: Netns, address: string, attempts = 1): Promise<number | undefined> {
  const command: Command = ['ping', '-n', '-W', '1', '-c', '1', address]
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const outcome = await from.execute(command)
    const time = / time=([\d.]+) ms/.exec(outcome.stdout)?.[1]
    if (outcome.exitCode === 0 && time !== undefined) return Number(time)
    // 1: no answer. 2: could not send, as without a route. Anything else is not about the network.
    if (outcome.exitCode !== 1 && outcome.exitCode !== 2) throw new CommandError(command, outcome)
  }
  return undefined
}

/** Starts a TCP server that answers each connection with `<text> to <address of the client>`, and waits until it listens. */
export async function serveTcp(netns: Netns, at: Endpoint, text: string): Promise<Background> {
  return await serve(netns, TCP_PEER, { ...at, text })
}

/** Starts a UDP server that answers each packet with `<text> to <address of the client>`, and waits until it listens. */
export async function serveUdp(netns: Netns, at: Endpoint, text: string): Promise<Background> {
  return await serve(netns, UDP_PEER, { ...at, text })
}

interface Served extends Endpoint {
  readonly text: string
}

async function serve(netns: Netns, program: string, at: Served): Promise<Background> {
  const server = Background.start(
    netns.command([process.execPath, program, 'serve', at.address, String(at.port), at.text]),
  )
  try {
    await server.until(`it listens on ${at.address} port ${at.port}`, () => server.lines.includes('listening'))
  } catch (cause) {
    await server.kill()
    throw cause
  }
  return server
}

/** What a server at `to` says to a client in `netns`; `refused: <errno>` when there is no connection within 2 s. */
export async function askTcp(netns: Netns, to: Endpoint): Promise<string> {
  const answer = await netns.run([process.execPath, TCP_PEER, 'ask', to.address, String(to.port)])
  return answer.trimEnd()
}

/** What a server at `to` says to a client in `netns` that sends from `localPort`; `no answer` after 2 s. */
export async function askUdp(netns: Netns, to: Endpoint, localPort: number): Promise<string> {
  const answer = await netns.run([process.execPath, UDP_PEER, 'ask', to.address, String(to.port), String(localPort)])
  return answer.trimEnd()
}
