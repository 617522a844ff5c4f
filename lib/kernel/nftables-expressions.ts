import type { AttrStream } from 'netlink/dist/structs.js'
import { addressToBytes } from '../net/address.ts'
import { addressAt, type Family } from '../net/address.ts'
import { bitsOf, type Prefix } from '../net/prefix.ts'
import type { Match, Rule, Selector, Statement } from '../plan/ruleset.ts'
import { DATA, hostU32, LIST_ELEMENT, text, u32, verdict, VERDICT_CODE } from './nftables-message.ts'

/*
 * The rules of our table as the expressions that nf_tables runs (linux/netfilter/nf_tables.h), in the order and with the
 * registers that nft(8) would choose, so that nft(8) can list them.
 */

const NFPROTO = { 4: 2, 6: 10 } as const
const EXPRESSION = { name: 1, data: 2 } as const
const VERDICT_REGISTER = 0
/** The first register of 16 bytes, and where the registers of 4 bytes begin that share its place. */
const REGISTER = 1
const REGISTER_32 = 8
const META = { dreg: 1, key: 2, iifname: 6, oifname: 7, nfproto: 15, l4proto: 16 } as const
const CMP = { sreg: 1, op: 2, data: 3, equal: 0, notEqual: 1 } as const
const FIB = {
  dreg: 1,
  result: 2,
  flags: 3,
  oif: 1,
  addressType: 3,
  source: 1 << 0,
  destination: 1 << 1,
  iif: 1 << 3,
  present: 1 << 5,
} as const
const RTN_LOCAL = 2
const PAYLOAD = { dreg: 1, base: 2, offset: 3, length: 4, network: 1, transport: 2 } as const
const BITWISE = { sreg: 1, dreg: 2, length: 3, mask: 4, xor: 5 } as const
const IMMEDIATE = { dreg: 1, data: 2 } as const
const LOOKUP = { set: 1, sreg: 2, dreg: 3 } as const
const NAT = { type: 1, family: 2, addressRegister: 3, protocolRegister: 5, destination: 1 } as const
const MASQUERADE = { flags: 1, fullyRandom: 0x10 } as const

/** Where each selector's value is in a packet, and how many bytes it has. */
const SELECTORS: Readonly<Record<Selector, { base?: number; offset: number; bytes: number; family?: Family }>> = {
  'meta l4proto': { offset: 0, bytes: 1 },
  'th dport': { base: PAYLOAD.transport, offset: 2, bytes: 2 },
  'ip saddr': { base: PAYLOAD.network, offset: 12, bytes: 4, family: 4 },
  'ip daddr': { base: PAYLOAD.network, offset: 16, bytes: 4, family: 4 },
  'ip6 saddr': { base: PAYLOAD.network, offset: 8, bytes: 16, family: 6 },
  'ip6 daddr': { base: PAYLOAD.network, offset: 24, bytes: 16, family: 6 },
}

/** Writes all that `rule` does, as a list of expressions. */
export function encodeRule(rule: Rule, list: AttrStream): void {
  for (const match of rule.matches) encodeMatch(match, list)
  encodeStatement(rule.statement, list)
}

function encodeMatch(match: Match, list: AttrStream): void {
  switch (match.match) {
    case 'iifname-prefix':
      return nameBeginsWith(list, META.iifname, match.prefix)
    case 'oifname-prefix':
      return nameBeginsWith(list, META.oifname, match.prefix)
    case 'source-unreachable-by-iif':
      fib(list, FIB.oif, FIB.source | FIB.iif | FIB.present)
      // "Present" is stored as a whole register: 0 means that no route leads back through the interface.
      return compare(list, u32(0))
    case 'destination-not-local':
      fib(list, FIB.addressType, FIB.destination)
      return compare(list, hostU32(RTN_LOCAL), CMP.notEqual)
    case 'destination':
      return destinationIn(list, match.prefix)
    case 'in-set':
      loadKey(list, match.key)
      return lookUp(list, match.set)
  }
}

function encodeStatement(statement: Statement, list: AttrStream): void {
  switch (statement.do) {
    case 'count-and-drop':
      expression(list, 'counter', () => {})
      return immediate(list, VERDICT_CODE.drop)
    case 'return':
      return immediate(list, VERDICT_CODE.return)
    case 'jump':
      return immediate(list, VERDICT_CODE.jump, statement.chain)
    case 'vmap':
      loadKey(list, statement.key)
      return lookUp(list, statement.map, VERDICT_REGISTER)
    case 'dnat':
      loadKey(list, statement.key)
      lookUp(list, statement.map, REGISTER)
      return expression(list, 'nat', data => {
        data.push(NAT.type, u32(NAT.destination))
        data.push(NAT.family, u32(NFPROTO[statement.family]))
        data.push(NAT.addressRegister, u32(REGISTER))
        data.push(NAT.protocolRegister, u32(REGISTER_32 + (statement.family === 4 ? 1 : 4)))
      })
    case 'masquerade':
      return expression(list, 'masq', data => {
        if (statement.isFullyRandom) data.push(MASQUERADE.flags, u32(MASQUERADE.fullyRandom))
      })
  }
}

/** Loads the values of `key` into registers one after another, as the key of a set has them. */
function loadKey(list: AttrStream, key: readonly Selector[]): void {
  const family = key.map(selector => SELECTORS[selector].family).find(family => family !== undefined)
  if (family !== undefined) onlyFamily(list, family)
  let register = REGISTER_32
  for (const selector of key) {
    const { base, offset, bytes } = SELECTORS[selector]
    if (base === undefined) meta(list, META.l4proto, register)
    else payload(list, { base, offset, length: bytes, register })
    register += Math.ceil(bytes / 4)
  }
}

function lookUp(list: AttrStream, set: string, into?: number): void {
  expression(list, 'lookup', data => {
    data.push(LOOKUP.set, text(set))
    data.push(LOOKUP.sreg, u32(REGISTER_32))
    if (into !== undefined) data.push(LOOKUP.dreg, u32(into))
  })
}

function destinationIn(list: AttrStream, { address, prefixLength }: Prefix): void {
  const { family } = address
  const { base, offset, bytes } = SELECTORS[family === 4 ? 'ip daddr' : 'ip6 daddr']
  const isWhole = prefixLength % 8 === 0
  const length = isWhole ? prefixLength / 8 : bytes
  onlyFamily(list, family)
  // Every address of the family: loading no byte at all is refused.
  if (length === 0) return
  payload(list, { base: base ?? PAYLOAD.network, offset, length, register: REGISTER })
  if (!isWhole) mask(list, maskOf(family, prefixLength))
  compare(list, Buffer.from(addressToBytes(address).subarray(0, length)))
}

function maskOf(family: Family, prefixLength: number): Buffer {
  const hostBits = BigInt(bitsOf(family) - prefixLength)
  const all = (1n << BigInt(bitsOf(family))) - 1n
  return Buffer.from(addressToBytes(addressAt(family, (all >> hostBits) << hostBits)))
}

function mask(list: AttrStream, bits: Buffer): void {
  expression(list, 'bitwise', data => {
    data.push(BITWISE.sreg, u32(REGISTER))
    data.push(BITWISE.dreg, u32(REGISTER))
    data.push(BITWISE.length, u32(bits.length))
    data.push(BITWISE.mask, out => out.push(DATA.value, bits))
    data.push(BITWISE.xor, out => out.push(DATA.value, Buffer.alloc(bits.length)))
  })
}

function onlyFamily(list: AttrStream, family: Family): void {
  meta(list, META.nfproto)
  compare(list, Buffer.from([NFPROTO[family]]))
}

function nameBeginsWith(list: AttrStream, key: number, prefix: string): void {
  meta(list, key)
  // Comparing fewer bytes than a name has is how nftables spells a wildcard.
  compare(list, Buffer.from(prefix))
}

function meta(list: AttrStream, key: number, register: number = REGISTER): void {
  expression(list, 'meta', data => {
    data.push(META.dreg, u32(register))
    data.push(META.key, u32(key))
  })
}

function fib(list: AttrStream, result: number, flags: number): void {
  expression(list, 'fib', data => {
    data.push(FIB.dreg, u32(REGISTER))
    data.push(FIB.result, u32(result))
    data.push(FIB.flags, u32(flags))
  })
}

function payload(list: AttrStream, from: { base: number; offset: number; length: number; register: number }): void {
  expression(list, 'payload', data => {
    data.push(PAYLOAD.dreg, u32(from.register))
    data.push(PAYLOAD.base, u32(from.base))
    data.push(PAYLOAD.offset, u32(from.offset))
    data.push(PAYLOAD.length, u32(from.length))
  })
}

function compare(list: AttrStream, value: Buffer, operator: number = CMP.equal): void {
  expression(list, 'cmp', data => {
    data.push(CMP.sreg, u32(REGISTER))
    data.push(CMP.op, u32(operator))
    data.push(CMP.data, out => out.push(DATA.value, value))
  })
}

function immediate(list: AttrStream, code: number, chain?: string): void {
  expression(list, 'immediate', data => {
    data.push(IMMEDIATE.dreg, u32(VERDICT_REGISTER))
    data.push(IMMEDIATE.data, verdict(code, chain))
  })
}

function expression(list: AttrStream, name: string, encode: (data: AttrStream) => void): void {
  list.push(LIST_ELEMENT, element => {
    element.push(EXPRESSION.name, text(name))
    element.push(EXPRESSION.data, encode)
  })
}
