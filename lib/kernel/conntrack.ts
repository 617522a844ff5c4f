import type { AttrStream } from 'netlink/dist/structs.js'
import { addressFromBytes, equalAddresses, formatAddress, type Address } from '../net/address.ts'
import type { HostUdpPort } from '../plan/operation.ts'
import type { Deadline } from '../time/deadline.ts'
import { NetlinkError } from './netlink-error.ts'
import type { NetlinkReply, NetlinkRequest, NetlinkSocket } from './netlink-socket.ts'
import { attributesIn, attributesOf, hostU32, withHeader } from './nftables-message.ts'

/*
 * What the kernel remembers of UDP flows, over ctnetlink (linux/netfilter/nfnetlink_conntrack.h): the part of it that keeps
 * packets going where they went, whatever nftables says by now.
 */

const SUBSYSTEM = 1
const MESSAGE = { get: 1, delete: 2 } as const
const FAMILY = { 4: 2, 6: 10 } as const
const FLOW = { original: 1, reply: 2, id: 12, zone: 18, filter: 25 } as const
const TUPLE = { address: 1, protocol: 2 } as const
const SOURCE = { 4: 1, 6: 3 } as const
const DESTINATION = { 4: 2, 6: 4 } as const
const PORTS = { protocol: 1, source: 2, destination: 3 } as const
/** Which parts of the original direction a filter compares: the protocol, and the port that packets go to. */
const FILTER = { originalFlags: 1, protocol: 1 << 3, destinationPort: 1 << 5 } as const
const UDP = 17
/** NLA_F_NESTED. */
const NESTED = 0x8000

/** What forgetFlows has to know beside the port. */
export interface ForgetOptions {
  /** Tells whether the node has an address itself. */
  isLocal(address: Address): Promise<boolean>
  readonly by: Deadline
}

/**
 * Makes the kernel forget the UDP flows to a port of the node: those to its addresses, and those that lead to the pod.
 *
 * Flows through the node to the same port of somebody else, such as a DNS server's, are left alone.
 */
export async function forgetFlows(socket: NetlinkSocket, port: HostUdpPort, options: ForgetOptions): Promise<void> {
  const { by } = options
  const replies = await socket.dump(dumpFlows(port), by)
  const isLocal = new Map<string, boolean>()
  for (const reply of replies) {
    const flow = decodeFlow(reply, port)
    if (flow === undefined) continue
    if (!leadsToPod(flow, port) && !(await isToNode(flow.to, { port, options, isLocal }))) continue
    try {
      await socket.acknowledge(deleteFlow(reply, port), by)
    } catch (failure) {
      // It has ended by itself meanwhile.
      if (!(failure instanceof NetlinkError) || failure.code !== 'ENOENT') throw failure
    }
  }
}

/** Where the packets of a flow were sent to, and who answers. */
interface Flow {
  readonly to: Address
  readonly answeredBy: Address
  readonly answeringPort: number
}

function leadsToPod({ answeredBy, answeringPort }: Flow, { podAddress, podPort }: HostUdpPort): boolean {
  return equalAddresses(answeredBy, podAddress) && answeringPort === podPort
}

interface Asking {
  readonly port: HostUdpPort
  readonly options: ForgetOptions
  /** What was found out so far, by address. */
  readonly isLocal: Map<string, boolean>
}

async function isToNode(to: Address, { port, options, isLocal }: Asking): Promise<boolean> {
  if (port.hostAddress !== undefined) return equalAddresses(to, port.hostAddress)
  const key = formatAddress(to)
  const known = isLocal.get(key) ?? (await options.isLocal(to))
  isLocal.set(key, known)
  return known
}

/** Kernels before 5.8 do not know the filter and send every flow of the family: decodeFlow() looks again. */
function dumpFlows(port: HostUdpPort): NetlinkRequest {
  return request(MESSAGE.get, port, out => {
    // By hand: of all attributes this one alone has to say that it is nested, which the codec does not.
    out.emit(Buffer.from(Uint16Array.of(12, FLOW.filter | NESTED, 8, FILTER.originalFlags).buffer))
    out.emit(hostU32(FILTER.protocol | FILTER.destinationPort))
    out.push(FLOW.original, tuple =>
      tuple.push(TUPLE.protocol, protocol => {
        protocol.push(PORTS.protocol, Buffer.from([UDP]))
        protocol.push(PORTS.destination, portBytes(port.hostPort))
      }),
    )
  })
}

function deleteFlow(reply: NetlinkReply, port: HostUdpPort): NetlinkRequest {
  const found = attributesIn(reply)
  return request(MESSAGE.delete, port, out => {
    // The identity with the addresses: another flow of the same addresses may have come in its place.
    for (const attribute of [FLOW.original, FLOW.id, FLOW.zone]) {
      const value = found.get(attribute)
      if (value !== undefined) out.push(attribute, value)
    }
  })
}

/** Undefined for a flow of another protocol or to another port. */
function decodeFlow(reply: NetlinkReply, { hostPort, podAddress: { family } }: HostUdpPort): Flow | undefined {
  const found = attributesIn(reply)
  const [original, answers] = [tupleOf(found.get(FLOW.original)), tupleOf(found.get(FLOW.reply))]
  if (original.ports.get(PORTS.protocol)?.[0] !== UDP) return undefined
  if (original.ports.get(PORTS.destination)?.readUInt16BE() !== hostPort) return undefined
  const to = original.addresses.get(DESTINATION[family])
  const answeredBy = answers.addresses.get(SOURCE[family])
  if (to === undefined || answeredBy === undefined) return undefined
  return {
    to: addressFromBytes(to),
    answeredBy: addressFromBytes(answeredBy),
    answeringPort: answers.ports.get(PORTS.source)?.readUInt16BE() ?? 0,
  }
}

function tupleOf(bytes: Buffer | undefined): Readonly<Record<'addresses' | 'ports', ReadonlyMap<number, Buffer>>> {
  const found = attributesOf(bytes)
  return { addresses: attributesOf(found.get(TUPLE.address)), ports: attributesOf(found.get(TUPLE.protocol)) }
}

function request(message: number, { podAddress }: HostUdpPort, encode: (out: AttrStream) => void): NetlinkRequest {
  return { type: (SUBSYSTEM << 8) | message, flags: 0, payload: withHeader(FAMILY[podAddress.family], 0, encode) }
}

function portBytes(port: number): Buffer {
  return Buffer.from([port >> 8, port & 0xff])
}
