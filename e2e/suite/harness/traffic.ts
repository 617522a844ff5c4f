import type { Kubernetes } from './kubernetes.ts'
import { HTTP_PORT, UDP_PORT } from './pods.ts'

/** How long an answer may take: what is lost is sent again meanwhile, and a busy machine is late. */
export const ANSWER_SECONDS = '20'

/** Where somebody listens. */
export interface Endpoint {
  readonly address: string
  readonly port: number
}

/** An address as it stands in a URL. */
export function inUrl(address: string): string {
  return address.includes(':') ? `[${address}]` : address
}

/** Sends one HTTP request from a pod to agnhost. @returns the address under which the server saw the pod. */
export async function seenOverTcp(
  kubernetes: Kubernetes,
  fromPod: string,
  { address, port }: Endpoint,
): Promise<string> {
  const url = `http://${inUrl(address)}:${port}/clientip`
  return withoutPort(await kubernetes.exec(fromPod, ['curl', '-sSf', '-g', '--max-time', ANSWER_SECONDS, url]))
}

/** Sends one datagram from a pod to agnhost. @returns the address under which the server saw the pod. */
export async function seenOverUdp(
  kubernetes: Kubernetes,
  fromPod: string,
  { address, port }: Endpoint,
): Promise<string> {
  // One datagram there, one back: bash opens the socket, dd reads exactly one.
  const script = 'exec 3<>"/dev/udp/$0/$1"; printf clientip >&3; exec timeout "$2" dd bs=2048 count=1 status=none <&3'
  return withoutPort(await kubernetes.exec(fromPod, ['bash', '-c', script, address, String(port), ANSWER_SECONDS]))
}

/** Pings with packets of exactly `packetBytes`, headers of IP included, that nobody may fragment. @returns what ping said. */
export async function pingWithoutFragments(
  kubernetes: Kubernetes,
  fromPod: string,
  { address, packetBytes }: { readonly address: string; readonly packetBytes: number },
): Promise<{ readonly isAnswered: boolean; readonly said: string }> {
  const headerBytes = address.includes(':') ? 48 : 28
  const size = String(packetBytes - headerBytes)
  const command = ['ping', '-n', '-c', '2', '-i', '0.2', '-W', '3', '-M', 'do', '-s', size, address]
  const { exitCode, stdout, stderr } = await kubernetes.tryExec(fromPod, command)
  return { isAnswered: exitCode === 0, said: `${stdout}${stderr}` }
}

/** The MTU of a pod's eth0, in bytes. */
export async function mtuOf(kubernetes: Kubernetes, pod: string): Promise<number> {
  return Number(await kubernetes.exec(pod, ['cat', '/sys/class/net/eth0/mtu']))
}

export function httpOf(address: string): Endpoint {
  return { address, port: HTTP_PORT }
}

export function udpOf(address: string): Endpoint {
  return { address, port: UDP_PORT }
}

/** "10.244.1.7:34567" and "[fd00::7]:34567" without the port. */
export function withoutPort(text: string): string {
  return text
    .trim()
    .replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1')
}

export type Family = 'IPv4' | 'IPv6'

export function familyOf(address: string): Family {
  return address.includes(':') ? 'IPv6' : 'IPv4'
}

/** That of `addresses` which has the family of `model`. @throws {Error} when there is none. */
export function sameFamily(addresses: readonly string[], model: string): string {
  const found = addresses.find(address => familyOf(address) === familyOf(model))
  if (found === undefined) throw new Error(`no ${familyOf(model)} address in ${addresses.join(' ')}`)
  return found
}

/** "pod-0 on n1", for messages. */
export function wayOf(
  from: { readonly name: string; readonly nodeName: string },
  to: { readonly name: string; readonly nodeName: string },
): string {
  return `${from.name} on ${from.nodeName} to ${to.name} on ${to.nodeName}`
}
