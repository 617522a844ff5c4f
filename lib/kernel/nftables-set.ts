import { addressFromBytes, addressToBytes, type Address } from '../net/address.ts'
import type { FieldType, FieldValue, SetDefinition } from '../plan/nft-set.ts'
import { hostU32, textOf } from './nftables-message.ts'

/*
 * Sets and maps as nf_tables has them: their attributes, and the bytes of keys and data.
 */

export const SET = {
  table: 1,
  name: 2,
  flags: 3,
  keyType: 4,
  keyLength: 5,
  dataType: 6,
  dataLength: 7,
  id: 10,
} as const
const FLAG = { interval: 4, map: 8 } as const
/** nft(8)'s number for what a verdict map leads to (NFT_DATA_VERDICT). */
const VERDICT_TYPE = 0xffff_ff00
/** A type made of several has the number of each in 6 bits, the first highest. */
const TYPE_BITS = 6
const REGISTER_BYTES = 4

/** nft(8)'s number of each type, by which it lists elements, and the bytes of a value. */
const TYPES: Readonly<Record<FieldType, { readonly number: number; readonly bytes: number }>> = {
  ipv4_addr: { number: 7, bytes: 4 },
  ipv6_addr: { number: 8, bytes: 16 },
  inet_proto: { number: 12, bytes: 1 },
  inet_service: { number: 13, bytes: 2 },
  mark: { number: 19, bytes: 4 },
  ifname: { number: 41, bytes: 16 },
}
const PROTOCOLS = [
  ['tcp', 6],
  ['udp', 17],
  ['sctp', 132],
] as const

/** The attributes that make a set what it is, with their values: the kernel reports the same that it was told. */
export function setShape({ key, data, isInterval }: SetDefinition): readonly (readonly [number, number])[] {
  const flags = (isInterval ? FLAG.interval : 0) | (data === undefined ? 0 : FLAG.map)
  const to: readonly (readonly [number, number])[] =
    data === undefined
      ? []
      : data === 'verdict'
        ? [[SET.dataType, VERDICT_TYPE]]
        : [
            [SET.dataType, typeNumber(data)],
            [SET.dataLength, lengthOf(data)],
          ]
  return [[SET.flags, flags], [SET.keyType, typeNumber(key)], [SET.keyLength, lengthOf(key)], ...to]
}

/** The bytes of a key or of data. Each of several fields begins at a register of its own. */
export function encodeFields(types: readonly FieldType[], values: readonly FieldValue[]): Buffer {
  const fields = types.map((type, index) => {
    const value = values[index]
    if (value === undefined) throw new RangeError(`want a value for ${type}`)
    return encodeValue(type, value)
  })
  const [only] = fields
  return fields.length === 1 && only !== undefined ? only : Buffer.concat(fields.map(padded))
}

/** Reads what encodeFields() wrote. */
export function decodeFields(types: readonly FieldType[], bytes: Buffer): readonly FieldValue[] {
  let at = 0
  return types.map(type => {
    const size = TYPES[type].bytes
    const value = decodeValue(type, bytes.subarray(at, at + size))
    at += alignedSize(size)
    return value
  })
}

function encodeValue(type: FieldType, value: FieldValue): Buffer {
  if (type === 'ipv4_addr' || type === 'ipv6_addr') {
    if (typeof value === 'object') return Buffer.from(addressToBytes(value))
  } else if (type === 'mark') {
    if (typeof value === 'number') return hostU32(value)
  } else if (type === 'inet_service') {
    if (typeof value === 'number') return Buffer.from([value >> 8, value & 0xff])
  } else if (type === 'inet_proto') {
    const known = PROTOCOLS.find(([name]) => name === value)
    if (known !== undefined) return Buffer.from([known[1]])
  } else if (typeof value === 'string') {
    const name = Buffer.alloc(TYPES.ifname.bytes)
    name.write(value)
    return name
  }
  throw new RangeError(`a ${typeof value} is no value of type ${type}`)
}

function decodeValue(type: FieldType, bytes: Buffer): FieldValue {
  switch (type) {
    case 'ipv4_addr':
    case 'ipv6_addr':
      return addressFromBytes(bytes) satisfies Address
    case 'mark':
      return bytes.readUInt32LE()
    case 'inet_service':
      return bytes.readUInt16BE()
    case 'inet_proto':
      return PROTOCOLS.find(([, number]) => number === bytes[0])?.[0] ?? String(bytes[0])
    case 'ifname':
      return textOf(bytes)
  }
}

function typeNumber(types: readonly FieldType[]): number {
  return types.reduce((number, type) => (number << TYPE_BITS) | TYPES[type].number, 0)
}

function lengthOf(types: readonly FieldType[]): number {
  const [only] = types
  if (types.length === 1 && only !== undefined) return TYPES[only].bytes
  return types.reduce((sum, type) => sum + alignedSize(TYPES[type].bytes), 0)
}

function padded(field: Buffer): Buffer {
  return Buffer.concat([field, Buffer.alloc(alignedSize(field.length) - field.length)])
}

function alignedSize(bytes: number): number {
  return Math.ceil(bytes / REGISTER_BYTES) * REGISTER_BYTES
}
