import { getMap, type AttrStream, type StreamData } from 'netlink/dist/structs.js'
import { addressToBytes } from '../net/address.ts'
import { NFT_TABLE } from '../plan/marks.ts'
import { RAW_PRIORITY, ruleComment, type Chain, type Match, type Rule, type Ruleset } from '../plan/ruleset.ts'
import type { NetlinkReply, NetlinkRequest } from './netlink-socket.ts'

/*
 * Our nftables table as nf_tables requests (linux/netfilter/nf_tables.h). Numbers in nf_tables are big-endian.
 */

const SUBSYSTEM = 10
const BATCH_BEGIN = 0x10
const BATCH_END = 0x11
const NFPROTO_INET = 1
const NFPROTO_IPV4 = 2
const NLM_F_CREATE = 0x400
const NLM_F_APPEND = 0x800

const MESSAGE = {
  newTable: 0,
  getTable: 1,
  newChain: 3,
  getChain: 4,
  delChain: 5,
  newRule: 6,
  getRule: 7,
  delRule: 8,
} as const
const TABLE = { name: 1, flags: 2, dormant: 1 } as const
const CHAIN = { table: 1, name: 3, hook: 4, policy: 5, type: 7 } as const
const HOOK = { number: 1, priority: 2 } as const
const RULE = { table: 1, chain: 2, expressions: 4, userdata: 7 } as const
const LIST_ELEMENT = 1
const EXPRESSION = { name: 1, data: 2 } as const
const DATA = { value: 1, verdict: 2 } as const
const PREROUTING = 0
const CHAIN_TYPE = 'filter'
const ACCEPT = 1
const DROP = 0
const VERDICT_REGISTER = 0
const REGISTER = 1
const META = { dreg: 1, key: 2, iifname: 6, nfproto: 15 } as const
const CMP = { sreg: 1, op: 2, data: 3, equal: 0 } as const
const FIB = { dreg: 1, result: 2, flags: 3, oif: 1, source: 1 << 0, iif: 1 << 3, present: 1 << 5 } as const
const PAYLOAD = { dreg: 1, base: 2, offset: 3, length: 4, network: 1, ipv4Destination: 16 } as const
const IMMEDIATE = { dreg: 1, data: 2, verdictCode: 1 } as const
const USERDATA_COMMENT = 0
/** struct nfgenmsg, before the attributes of every message. */
const GENERIC_HEADER_BYTES = 4

/**
 * One transaction after which our table holds exactly the rules of `ruleset`: what is there is kept (sets of other
 * features, chains), what is missing is created, and the rules of each chain are replaced.
 *
 * @param replaced the chains that are there and must be made anew: the kernel changes the hook of none.
 */
export function replaceRules(ruleset: Ruleset, replaced: readonly Chain[]): readonly NetlinkRequest[] {
  return [
    batchEdge(BATCH_BEGIN),
    newTable(),
    ...ruleset.chains.flatMap(chain => [
      ...(replaced.includes(chain) ? [chainRequest(MESSAGE.delChain, chain)] : []),
      newChain(chain),
      request(MESSAGE.delRule, 0, out => {
        out.push(RULE.table, text(NFT_TABLE))
        out.push(RULE.chain, text(chain.name))
      }),
      ...chain.rules.map(rule => newRule(chain, rule)),
    ]),
    batchEdge(BATCH_END),
  ]
}

/** A transaction of its own: the kernel takes no chain back in the one that wakes its table (EINVAL). */
export function wakeTable(): readonly NetlinkRequest[] {
  return [batchEdge(BATCH_BEGIN), newTable(), batchEdge(BATCH_END)]
}

/** Asks for our table and one chain of it: ENOENT when either is not there. */
export function getChain(chain: Chain): readonly NetlinkRequest[] {
  return [
    request(MESSAGE.getTable, 0, out => out.push(TABLE.name, text(NFT_TABLE))),
    chainRequest(MESSAGE.getChain, chain),
  ]
}

/** Where packets go, according to the replies to getChain(). */
export interface ChainState {
  /** False for a dormant table: its rules are there and do nothing. */
  readonly isTableAwake: boolean
  /** False for a chain that is no base chain, or sees packets elsewhere or otherwise than ours do. */
  readonly isOurBaseChain: boolean
}

/** @throws {Error} when the kernel sent something else than a table and a chain. */
export function decodeChainState([tableReply, chainReply]: readonly NetlinkReply[]): ChainState {
  if (tableReply === undefined || chainReply === undefined) throw new Error('want a table and a chain from nf_tables')
  const flags = attributesIn(tableReply).get(TABLE.flags)
  const chain = attributesIn(chainReply)
  const hook = attributesOf(chain.get(CHAIN.hook) ?? Buffer.alloc(0))
  return {
    isTableAwake: ((flags?.readUInt32BE() ?? 0) & TABLE.dormant) === 0,
    isOurBaseChain:
      hook.get(HOOK.number)?.readUInt32BE() === PREROUTING &&
      hook.get(HOOK.priority)?.readInt32BE() === RAW_PRIORITY &&
      chain.get(CHAIN.policy)?.readUInt32BE() === ACCEPT &&
      chain.get(CHAIN.type)?.equals(text(CHAIN_TYPE)) === true,
  }
}

/** Asks for the rules of one chain of our table. */
export function dumpRules(chain: Chain): NetlinkRequest {
  return request(MESSAGE.getRule, 0, out => {
    out.push(RULE.table, text(NFT_TABLE))
    out.push(RULE.chain, text(chain.name))
  })
}

/** The comment of a rule in a reply; undefined when it has none. */
export function decodeRuleComment(reply: NetlinkReply): string | undefined {
  const userdata = attributesIn(reply).get(RULE.userdata)
  // Userdata is a sequence of (type u8, length u8, value); nft(8) puts the comment first, and so do we.
  if (userdata === undefined || userdata[0] !== USERDATA_COMMENT) return undefined
  return userdata
    .subarray(2, 2 + (userdata[1] ?? 0))
    .toString()
    .replace(/\0$/, '')
}

function newTable(): NetlinkRequest {
  return request(MESSAGE.newTable, NLM_F_CREATE, out => {
    out.push(TABLE.name, text(NFT_TABLE))
    // Said, not left out: a table that is there keeps the flags that are not mentioned.
    out.push(TABLE.flags, u32(0))
  })
}

function chainRequest(message: number, { name }: Chain): NetlinkRequest {
  return request(message, 0, out => {
    out.push(CHAIN.table, text(NFT_TABLE))
    out.push(CHAIN.name, text(name))
  })
}

function newChain({ name }: Chain): NetlinkRequest {
  return request(MESSAGE.newChain, NLM_F_CREATE, out => {
    out.push(CHAIN.table, text(NFT_TABLE))
    out.push(CHAIN.name, text(name))
    out.push(CHAIN.hook, hook => {
      hook.push(HOOK.number, u32(PREROUTING))
      hook.push(HOOK.priority, u32(RAW_PRIORITY))
    })
    out.push(CHAIN.policy, u32(ACCEPT))
    out.push(CHAIN.type, text(CHAIN_TYPE))
  })
}

function newRule(chain: Chain, rule: Rule): NetlinkRequest {
  return request(MESSAGE.newRule, NLM_F_CREATE | NLM_F_APPEND, out => {
    out.push(RULE.table, text(NFT_TABLE))
    out.push(RULE.chain, text(chain.name))
    out.push(RULE.expressions, list => {
      for (const match of rule.matches) encodeMatch(match, list)
      expression(list, 'counter', () => {})
      expression(list, 'immediate', data => {
        data.push(IMMEDIATE.dreg, u32(VERDICT_REGISTER))
        data.push(IMMEDIATE.data, value =>
          value.push(DATA.verdict, verdict => verdict.push(IMMEDIATE.verdictCode, u32(DROP))),
        )
      })
    })
    const comment = text(ruleComment(rule))
    out.push(RULE.userdata, Buffer.concat([Buffer.from([USERDATA_COMMENT, comment.length]), comment]))
  })
}

function encodeMatch(match: Match, list: AttrStream): void {
  switch (match.match) {
    case 'iifname-prefix':
      meta(list, META.iifname)
      // Comparing fewer bytes than a name has is how nftables spells a wildcard.
      return compare(list, Buffer.from(match.prefix))
    case 'source-unreachable-by-iif':
      expression(list, 'fib', data => {
        data.push(FIB.dreg, u32(REGISTER))
        data.push(FIB.result, u32(FIB.oif))
        data.push(FIB.flags, u32(FIB.source | FIB.iif | FIB.present))
      })
      // "Present" is stored as a whole register: 0 means that no route leads back through the interface.
      return compare(list, u32(0))
    case 'ipv4-destination': {
      const { address, prefixLength } = match.prefix
      if (address.family !== 4 || prefixLength % 8 !== 0) throw new RangeError('want an IPv4 prefix of whole bytes')
      meta(list, META.nfproto)
      compare(list, Buffer.from([NFPROTO_IPV4]))
      expression(list, 'payload', data => {
        data.push(PAYLOAD.dreg, u32(REGISTER))
        data.push(PAYLOAD.base, u32(PAYLOAD.network))
        data.push(PAYLOAD.offset, u32(PAYLOAD.ipv4Destination))
        data.push(PAYLOAD.length, u32(prefixLength / 8))
      })
      return compare(list, Buffer.from(addressToBytes(address).subarray(0, prefixLength / 8)))
    }
  }
}

function meta(list: AttrStream, key: number): void {
  expression(list, 'meta', data => {
    data.push(META.dreg, u32(REGISTER))
    data.push(META.key, u32(key))
  })
}

function compare(list: AttrStream, value: Buffer): void {
  expression(list, 'cmp', data => {
    data.push(CMP.sreg, u32(REGISTER))
    data.push(CMP.op, u32(CMP.equal))
    data.push(CMP.data, out => out.push(DATA.value, value))
  })
}

function expression(list: AttrStream, name: string, encode: (data: AttrStream) => void): void {
  list.push(LIST_ELEMENT, element => {
    element.push(EXPRESSION.name, text(name))
    element.push(EXPRESSION.data, encode)
  })
}

function request(message: number, flags: number, encode: (out: AttrStream) => void): NetlinkRequest {
  return { type: (SUBSYSTEM << 8) | message, flags, payload: withHeader(NFPROTO_INET, 0, encode) }
}

function batchEdge(type: number): NetlinkRequest {
  return { type, flags: 0, payload: withHeader(0, SUBSYSTEM, () => {}), unacknowledged: true }
}

/** struct nfgenmsg: family, version 0, resource id. */
function withHeader(family: number, resource: number, encode: (out: AttrStream) => void): StreamData {
  return out => {
    out.emit(Buffer.from([family, 0, resource >> 8, resource & 0xff]))
    encode(out)
  }
}

function attributesIn(reply: NetlinkReply): ReadonlyMap<number, Buffer> {
  return attributesOf(reply.payload.subarray(GENERIC_HEADER_BYTES))
}

function attributesOf(bytes: Buffer): ReadonlyMap<number, Buffer> {
  return getMap(bytes, value => value)
}

function text(value: string): Buffer {
  return Buffer.from(`${value}\0`)
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value | 0)
  return bytes
}
