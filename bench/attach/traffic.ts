import { Background } from '../../e2e/netns/harness/background.ts'
import type { Netns } from '../../e2e/netns/harness/namespace.ts'
import { asObject } from '../../e2e/netns/harness/json.ts'
import { debianParts } from '../../e2e/parts/debian.ts'
import { multiarchFolder } from '../../e2e/parts/iptables.ts'
import { join } from 'node:path'
import type { Traffic } from '../report/samples.ts'
import type { IperfProgram } from './node-protocol.ts'

const IPERF_PACKAGES = ['iperf3', 'libiperf0', 'libsctp1', 'libssl3']
const IPERF_PORT = 5201
const ROUND_TRIP_PORT = 5301

/** Two places with a path between them. */
export interface TrafficPath {
  readonly from: Netns
  readonly to: Netns
  /** Of `to`. */
  readonly address: string
  /** For each of throughput and round trips. */
  readonly seconds: number
  readonly iperf3: IperfProgram
  readonly roundTrips: string
}

/** Debian's iperf3, unpacked and never installed. */
export async function unpackIperf3(): Promise<IperfProgram> {
  const root = await debianParts(IPERF_PACKAGES)
  return { path: join(root, 'usr/bin/iperf3'), libraryFolder: join(root, 'usr/lib', multiarchFolder()) }
}

/** Sends as much as can be over one TCP connection (iperf3), then one byte there and back, again and again. */
export async function measureTraffic(path: TrafficPath): Promise<Omit<Traffic, 'kind' | 'contender'>> {
  return { gigabitPerSecond: await throughput(path), ...(await roundTrips(path)) }
}

async function throughput({ from, to, address, seconds, iperf3 }: TrafficPath): Promise<number> {
  const env = { ...process.env, LD_LIBRARY_PATH: iperf3.libraryFolder }
  const serve = [iperf3.path, '--server', '--bind', address, '--port', String(IPERF_PORT), '--one-off'] as const
  await using server = Background.start(to.command(serve), { env })
  await server.until('iperf3 listens', async () => await isListening(to, IPERF_PORT))
  const options = ['--port', String(IPERF_PORT), '--time', String(seconds), '--omit', '1', '--json']
  const said = await from.run([iperf3.path, '--client', address, ...options], {
    env,
    timeoutMs: (seconds + 20) * 1000,
  })
  const end = asObject(asObject(JSON.parse(said), 'iperf3')['end'], 'iperf3 end')
  const received = asObject(end['sum_received'], 'iperf3 end.sum_received')['bits_per_second']
  if (typeof received !== 'number') throw new Error(`iperf3 says nothing of what was received: ${said.slice(0, 500)}`)
  return received / 1e9
}

async function roundTrips({ from, to, address, seconds, roundTrips: program }: TrafficPath) {
  await using server = Background.start(to.command([program, 'serve', address, String(ROUND_TRIP_PORT)]))
  await server.until('the other end listens', async () => await isListening(to, ROUND_TRIP_PORT))
  const ask = [program, 'ask', address, String(ROUND_TRIP_PORT), String(seconds)] as const
  const said = asObject(JSON.parse(await from.run(ask, { timeoutMs: (seconds + 20) * 1000 })), 'round-trips')
  const value = (key: string): number => {
    const found = said[key]
    if (typeof found !== 'number') throw new Error(`round-trips: no ${key} in ${JSON.stringify(said)}`)
    return found
  }
  return { roundTripsPerSecond: value('perSecond'), p50Us: value('p50Us'), p99Us: value('p99Us') }
}

async function isListening(at: Netns, port: number): Promise<boolean> {
  return (await at.run(['ss', '-Hltn', `sport = :${port}`])) !== ''
}
