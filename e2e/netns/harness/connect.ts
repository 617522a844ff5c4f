import type { Command } from '../../parts/command.ts'
import { Netns } from './namespace.ts'

/** One end of a cable between two namespaces. */
export interface CableEnd {
  readonly netns: Netns
  readonly ifName: string
  /** With prefix length: `192.0.2.2/24`. */
  readonly addresses: readonly string[]
}

/** Joins two namespaces by a veth pair, with addresses that can be used at once. It goes when either namespace goes. */
export async function connect(left: CableEnd, right: CableEnd): Promise<void> {
  const place = ({ netns, ifName }: CableEnd): readonly string[] => [ifName, 'netns', netns.iproute2Name]
  await Netns.own().run(['ip', 'link', 'add', ...place(left), 'type', 'veth', 'peer', 'name', ...place(right)])
  for (const { netns, ifName, addresses } of [left, right]) {
    // Duplicate address detection would keep the link-local address, and what is sent from it, back for a second or more.
    await netns.writeSysctl(`net/ipv6/conf/${ifName}/accept_dad`, '0')
    await addAddresses(netns, { ifName, addresses })
    await netns.run(['ip', 'link', 'set', ifName, 'up'])
  }
}

/** Adds addresses to an interface; IPv6 ones without duplicate address detection, so that they can be used at once. */
export async function addAddresses(netns: Netns, to: Pick<CableEnd, 'ifName' | 'addresses'>): Promise<void> {
  for (const address of to.addresses) {
    const command: Command = ['ip', 'address', 'add', address, 'dev', to.ifName]
    await netns.run(address.includes(':') ? [...command, 'nodad'] : command)
  }
}
