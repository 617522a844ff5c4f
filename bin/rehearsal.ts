import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { formatMessage, parseMessages, type NetlinkMessage } from 'netlink/dist/structs.js'
import type { Edges, Ipam } from '../lib/attach/edges.ts'
import { handle } from '../lib/attach/handle.ts'
import type { Outcome } from '../lib/attach/plugin-run.ts'
import type { AttachmentKey } from '../lib/ipam/attachment.ts'
import {
  allocateRequestToWire,
  parseAllocateReply,
  parseCollectReply,
  parseLeasesReply,
  parseReleaseReply,
  releaseRequestToWire,
} from '../lib/ipam/protocol.ts'
import { openLinuxKernel } from '../lib/kernel/linux-kernel.ts'
import { takeAttachmentLock } from '../lib/os/attachment-lock.ts'
import { readStdin } from '../lib/os/stdin.ts'
import type { NativeAddon } from '../native/addon.ts'

const ENVIRONMENT = {
  CNI_CONTAINERID: 'rehearsal',
  CNI_NETNS: '/run/netns/rehearsal',
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/',
}
const CONFIGURATION = { cniVersion: '1.1.0', name: 'rehearsal', type: 'tulle', ipam: { type: 'tulle-ipam' } }

/**
 * Runs each verb against a kernel and a daemon that agree to everything, while the snapshot is made.
 *
 * V8 compiles a function when it is first called, and the snapshot keeps what was compiled: what is rehearsed here is not
 * compiled again at each start of the plugin (docs/adr/0006). The machine is not touched, but for a temporary folder.
 *
 * @throws {Error} when ADD does not succeed: then nothing of what follows would be rehearsed.
 */
export async function rehearse(): Promise<void> {
  const folder = mkdtempSync('/tmp/tulle-rehearsal-')
  try {
    const edges = rehearsalEdges(folder)
    const added = await rehearseVerb('ADD', CONFIGURATION, { edges, folder })
    if (added.exitCode !== 0) throw new Error(`the rehearsal of ADD failed: ${added.stdout}`)
    const kept = { ...CONFIGURATION, prevResult: JSON.parse(added.stdout) as object, 'cni.dev/valid-attachments': [] }
    for (const verb of ['VERSION', 'CHECK', 'DEL', 'GC', 'STATUS']) await rehearseVerb(verb, kept, { edges, folder })
    for (const verb of ['ADD', 'DEL']) await rehearseVerb(verb, { ...CONFIGURATION, ...EXPOSED }, { edges, folder })
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** What makes a pod with ports of the node, masqueraded. */
const EXPOSED = {
  ipMasq: true,
  runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'udp' }] },
} as const

interface Stage {
  readonly edges: Edges
  readonly folder: string
}

async function rehearseVerb(verb: string, configuration: object, { edges, folder }: Stage): Promise<Outcome> {
  const file = join(folder, 'stdin')
  writeFileSync(file, JSON.stringify(configuration))
  const fd = openSync(file, 'r')
  try {
    const env = { ...ENVIRONMENT, CNI_COMMAND: verb }
    return await handle({ env, readStdin: by => readStdin({ addon: agreeableAddon(), fd, by }) }, edges)
  } finally {
    closeSync(fd)
  }
}

function rehearsalEdges(folder: string): Edges {
  const addon = agreeableAddon()
  return {
    openKernel: podNetnsPath => openLinuxKernel(addon, { podNetnsPath, exchange: 'sync' }),
    ipam: () => AGREEABLE_IPAM,
    delegate: () => Promise.reject(new Error('nothing is delegated in a rehearsal')),
    lock: (attachment, by) => takeAttachmentLock(attachment, { addon, socketPath: join(folder, 'ipamd.sock'), by }),
    spoolRelease: () => {},
    keepExposure: () => {},
    dropExposure: () => {},
    nowUnixMs: () => Date.now(),
    log: () => {},
  }
}

const AGREEABLE_IPAM: Ipam = {
  async allocate(request) {
    JSON.stringify(allocateRequestToWire(request))
    const reply = parseAllocateReply({ isNew: true, lease: leaseOf(request.attachment) })
    return { ...reply, whenDurable: async () => {} }
  },
  async release(request) {
    JSON.stringify(releaseRequestToWire(request))
    return parseReleaseReply({ released: true }).released
  },
  collect: async () => parseCollectReply({ released: [] }),
  find: async attachment => parseLeasesReply({ leases: [leaseOf(attachment)] }).leases[0],
  status: async () => {},
}

function leaseOf(attachment: AttachmentKey): object {
  return {
    attachment,
    pool: 'rehearsal',
    leasedAtUnixMs: 0,
    addresses: [
      { address: '192.0.2.2', prefixLength: 24, block: '192.0.2.0/24', gateway: '192.0.2.1' },
      { address: '2001:db8::2', prefixLength: 64, block: '2001:db8::/64', gateway: '2001:db8::1' },
    ],
  }
}

const NLMSG_ERROR = 2
const NLMSG_DONE = 3
const NLM_F_DUMP = 0x300
const NLM_F_CREATE = 0x400
const RTM_NEWLINK = 16
const RTM_DELLINK = 17
const RTM_GETLINK = 18
const ENOENT = 2
const ENODEV = 19
/** nf_tables: NFNL_SUBSYS_NFTABLES << 8, with NFT_MSG_GETTABLE and NFT_MSG_GETCHAIN. */
const GET_TABLE = 0x0a01
const GET_CHAIN = 0x0a04
const GET_SET = 0x0a0a

/**
 * Acknowledges every request. A link is there once it was created, and answered as it was asked for; our nftables table never
 * is, so that it is written each time.
 */
function agreeableAddon(): NativeAddon {
  let link: Uint8Array | undefined
  let inode = 0n

  function answer({ type, flags, seq, data }: NetlinkMessage): readonly Uint8Array[] {
    if (type === RTM_NEWLINK && (flags & NLM_F_CREATE) !== 0) link = data
    if (type === RTM_DELLINK) link = undefined
    if ((flags & NLM_F_DUMP) === NLM_F_DUMP && type > RTM_DELLINK) return message(NLMSG_DONE, seq, Buffer.alloc(4))
    if (type === GET_TABLE || type === GET_CHAIN || type === GET_SET) return verdict(seq, -ENOENT)
    if (type !== RTM_GETLINK) return verdict(seq, 0)
    return link === undefined ? verdict(seq, -ENODEV) : [...message(RTM_NEWLINK, seq, link), ...verdict(seq, 0)]
  }

  function transactSync(_fd: number, request: Uint8Array): Buffer {
    return Buffer.concat(parseMessages(Buffer.from(request)).flatMap(answer))
  }

  return {
    openNetns: () => ({ fd: openSync('/dev/null', 'r'), device: 1n, inode: inode++ }),
    openOwnNetns: () => ({ fd: openSync('/dev/null', 'r'), device: 1n, inode: -1n }),
    openNetlink: () => openSync('/dev/null', 'r'),
    openNetlinkListener: () => openSync('/dev/null', 'r'),
    receive: async () => Buffer.alloc(0),
    transactSync,
    transact: async (fd, request) => transactSync(fd, request),
    // Of the daemon, which lives long enough to compile it.
    perform: () => Promise.reject(new Error('not part of the rehearsal')),
    useSysctlFolder: () => {},
    readSysctl: () => '0',
    writeSysctls: () => {},
    tryLock: () => true,
    peerCredentials: () => ({ pid: 0, uid: 0, gid: 0 }),
    waitReadable: () => true,
    trimMemory: () => false,
    watchDeletedLinks: () => () => {},
  }
}

function verdict(seq: number, errno: number): readonly Uint8Array[] {
  const body = Buffer.alloc(20)
  body.writeInt32LE(errno)
  return message(NLMSG_ERROR, seq, body)
}

function message(type: number, seq: number, data: Uint8Array): readonly Uint8Array[] {
  const whole = Buffer.concat(formatMessage({ type, flags: 0, seq, port: 0, data: [data] }))
  return [whole, Buffer.alloc(-whole.length & 3)]
}
