import { NFT_TABLE } from '../plan/marks.ts'
import type { NftChain } from '../plan/nft-chain.ts'
import type { SetDefinition } from '../plan/nft-set.ts'
import { PRIORITIES, ruleComment, type BaseHook, type Chain, type Rule, type Ruleset } from '../plan/ruleset.ts'
import type { NetlinkReply, NetlinkRequest } from './netlink-socket.ts'
import { encodeRule } from './nftables-expressions.ts'
import {
  attributesIn,
  attributesOf,
  batch,
  commentIn,
  commentUserdata,
  MESSAGE,
  NLM_F_APPEND,
  NLM_F_CREATE,
  request,
  text,
  textOf,
  u32,
} from './nftables-message.ts'
import { SET, setShape } from './nftables-set.ts'

/*
 * Our nftables table as nf_tables requests: table, chains, rules and sets.
 */

const TABLE = { name: 1, flags: 2, dormant: 1 } as const
const CHAIN = { table: 1, name: 3, hook: 4, policy: 5, type: 7 } as const
const HOOK = { number: 1, priority: 2 } as const
const RULE = { table: 1, chain: 2, expressions: 4, userdata: 7 } as const
/** enum nf_inet_hooks. */
const HOOKS = { prerouting: 0, input: 1, forward: 2, output: 3, postrouting: 4 } as const
/** enum { NFPROTO_INET, ... }: the families whose hooks are HOOKS. */
const FAMILIES = new Map([
  [1, 'inet'],
  [2, 'ip'],
  [7, 'bridge'],
  [10, 'ip6'],
])
const EVERY_FAMILY = 0
const ACCEPT = 1
const GENERATION_ID = 1

/** What is there, but not as this version of the code would make it: the kernel changes no hook and no type of a key. */
export interface Replaced {
  readonly chains: readonly Chain[]
  readonly sets: readonly SetDefinition[]
}

/**
 * One transaction after which our table holds exactly the rules of `ruleset` in its chains: what else is there is kept
 * (elements, sets and chains of other features), what is missing is created, and the rules of each chain are replaced.
 */
export function replaceRules({ sets, chains }: Ruleset, replaced: Replaced): readonly NetlinkRequest[] {
  return batch([
    newTable(),
    ...replaced.chains.map(chain => chainRequest(MESSAGE.delChain, chain)),
    ...chains.map(newChain),
    // Before the sets: one that a rule looks into cannot go.
    ...chains.map(chain => ruleRequest(MESSAGE.delRule, chain)),
    ...replaced.sets.map(set => setRequest(MESSAGE.delSet, set)),
    ...sets.map(newSet),
    ...chains.flatMap(chain => chain.rules.map(rule => newRule(chain, rule))),
  ])
}

/** A transaction of its own: the kernel takes no chain back in the one that wakes its table (EINVAL). */
export function wakeTable(): readonly NetlinkRequest[] {
  return batch([newTable()])
}

/** Asks for our table: ENOENT when it is not there. */
export function getTable(): NetlinkRequest {
  return request(MESSAGE.getTable, 0, out => out.push(TABLE.name, text(NFT_TABLE)))
}

/** Asks for one chain of our table: ENOENT when it is not there. */
export function getChain(chain: Chain): NetlinkRequest {
  return chainRequest(MESSAGE.getChain, chain)
}

/** Asks for the chains of every table of every family. */
export function dumpChains(): NetlinkRequest {
  return request(MESSAGE.getChain, 0, () => {}, EVERY_FAMILY)
}

/** A chain in a reply. */
export function decodeChain(reply: NetlinkReply): NftChain {
  const found = attributesIn(reply)
  const familyNumber = reply.payload.readUInt8()
  const family = FAMILIES.get(familyNumber) ?? String(familyNumber)
  const names = { family, table: textOf(found.get(CHAIN.table)), name: textOf(found.get(CHAIN.name)) }
  const number = attributesOf(found.get(CHAIN.hook)).get(HOOK.number)?.readUInt32BE()
  if (number === undefined) return names
  // The hooks of other families have numbers of their own.
  const name = FAMILIES.has(familyNumber) ? Object.entries(HOOKS).find(([, value]) => value === number)?.[0] : undefined
  const policy = found.get(CHAIN.policy)?.readUInt32BE() === ACCEPT ? 'accept' : 'drop'
  return { ...names, base: { hook: name ?? String(number), policy } }
}

/** Deletes our table with everything in it: ENOENT when it is not there. */
export function deleteTable(): readonly NetlinkRequest[] {
  return batch([request(MESSAGE.delTable, 0, out => out.push(TABLE.name, text(NFT_TABLE)))])
}

/** Asks for one set of our table, without its elements: ENOENT when it is not there. */
export function getSet(set: SetDefinition): NetlinkRequest {
  return setRequest(MESSAGE.getSet, set)
}

/** Asks for the rules of all chains of our table. */
export function dumpRules(): NetlinkRequest {
  return request(MESSAGE.getRule, 0, out => out.push(RULE.table, text(NFT_TABLE)))
}

/** Asks for the number of changes that all tables have seen. */
export function getGeneration(): NetlinkRequest {
  return request(MESSAGE.getGeneration, 0, () => {})
}

/** The number in a reply to getGeneration(). */
export function decodeGeneration(reply: NetlinkReply): number {
  return attributesIn(reply).get(GENERATION_ID)?.readUInt32BE() ?? 0
}

/** False for a dormant table: its rules are there and do nothing. */
export function isTableAwake(reply: NetlinkReply): boolean {
  return ((attributesIn(reply).get(TABLE.flags)?.readUInt32BE() ?? 0) & TABLE.dormant) === 0
}

/** False when the chain sees packets elsewhere or otherwise than `chain` does. */
export function isSameChain(reply: NetlinkReply, { base }: Chain): boolean {
  const found = attributesIn(reply)
  if (base === undefined) return !found.has(CHAIN.hook)
  const hook = attributesOf(found.get(CHAIN.hook))
  return (
    hook.get(HOOK.number)?.readUInt32BE() === HOOKS[base.hook] &&
    hook.get(HOOK.priority)?.readInt32BE() === PRIORITIES[base.priority] &&
    found.get(CHAIN.policy)?.readUInt32BE() === ACCEPT &&
    textOf(found.get(CHAIN.type)) === base.type
  )
}

/** False when the set has other keys, leads to something else, or works otherwise than `set`. */
export function isSameSet(reply: NetlinkReply, set: SetDefinition): boolean {
  const found = attributesIn(reply)
  return setShape(set).every(([attribute, value]) => (found.get(attribute)?.readUInt32BE() ?? 0) === value >>> 0)
}

/** A rule in a reply: its chain, and its comment when it has one. */
export function decodeRule(reply: NetlinkReply): { readonly chain: string; readonly comment: string | undefined } {
  const found = attributesIn(reply)
  return { chain: textOf(found.get(RULE.chain)), comment: commentIn(found.get(RULE.userdata)) }
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

function newChain({ name, base }: Chain): NetlinkRequest {
  return request(MESSAGE.newChain, NLM_F_CREATE, out => {
    out.push(CHAIN.table, text(NFT_TABLE))
    out.push(CHAIN.name, text(name))
    if (base === undefined) return
    out.push(CHAIN.hook, hook => {
      hook.push(HOOK.number, u32(hookNumber(base)))
      hook.push(HOOK.priority, u32(PRIORITIES[base.priority]))
    })
    out.push(CHAIN.policy, u32(ACCEPT))
    out.push(CHAIN.type, text(base.type))
  })
}

function hookNumber({ hook }: BaseHook): number {
  return HOOKS[hook]
}

function ruleRequest(message: number, { name }: Chain): NetlinkRequest {
  return request(message, 0, out => {
    out.push(RULE.table, text(NFT_TABLE))
    out.push(RULE.chain, text(name))
  })
}

function newRule(chain: Chain, rule: Rule): NetlinkRequest {
  return request(MESSAGE.newRule, NLM_F_CREATE | NLM_F_APPEND, out => {
    out.push(RULE.table, text(NFT_TABLE))
    out.push(RULE.chain, text(chain.name))
    out.push(RULE.expressions, list => encodeRule(rule, list))
    out.push(RULE.userdata, commentUserdata(ruleComment(rule)))
  })
}

function setRequest(message: number, { name }: SetDefinition): NetlinkRequest {
  return request(message, 0, out => {
    out.push(SET.table, text(NFT_TABLE))
    out.push(SET.name, text(name))
  })
}

function newSet(set: SetDefinition, index: number): NetlinkRequest {
  return request(MESSAGE.newSet, NLM_F_CREATE, out => {
    out.push(SET.table, text(NFT_TABLE))
    out.push(SET.name, text(set.name))
    for (const [attribute, value] of setShape(set)) out.push(attribute, u32(value))
    // Only within the transaction; the kernel insists on one.
    out.push(SET.id, u32(index + 1))
  })
}
