import { join } from 'node:path'
import { runCommand } from '../../parts/command.ts'
import type { Netns } from './namespace.ts'

const SOURCE = join(import.meta.dirname, 'send-icmpv6.c')

/** A sender of ICMPv6 messages that no well-behaved program would send. */
export interface Icmpv6Sender {
  /** Sends `message` to every node on the link of `ifName`. The interface needs a link-local address to send from. */
  sendToAllNodes(netns: Netns, ifName: string, message: Uint8Array): Promise<void>
}

/** Compiles the sender into `folder`. */
export async function buildIcmpv6Sender(folder: string): Promise<Icmpv6Sender> {
  const executable = join(folder, 'send-icmpv6')
  await runCommand(['gcc', '-Wall', '-Wextra', '-Werror', '-o', executable, SOURCE])
  return {
    async sendToAllNodes(netns, ifName, message) {
      await netns.run([executable, ifName, 'ff02::1', Buffer.from(message).toString('hex')])
    },
  }
}

/**
 * A router advertisement (RFC 4861, section 4.2): "I am a default router for half an hour, and 2001:db8:bad::/64 is on this
 * link, make addresses of your own in it".
 */
export function routerAdvertisement(): Uint8Array {
  const header = Buffer.alloc(16)
  header.writeUInt8(134, 0) // type
  header.writeUInt8(64, 4) // hop limit to use
  header.writeUInt16BE(1800, 6) // router lifetime, seconds
  const prefix = Buffer.alloc(32)
  prefix.writeUInt8(3, 0) // option: prefix information (section 4.6.2)
  prefix.writeUInt8(4, 1) // its length, in units of 8 bytes
  prefix.writeUInt8(64, 2) // prefix length
  prefix.writeUInt8(0xc0, 3) // flags: on-link, autonomous
  prefix.writeUInt32BE(3600, 4) // valid lifetime, seconds
  prefix.writeUInt32BE(1800, 8) // preferred lifetime, seconds
  prefix.set([0x20, 0x01, 0x0d, 0xb8, 0x0b, 0xad], 16)
  return Buffer.concat([header, prefix])
}
