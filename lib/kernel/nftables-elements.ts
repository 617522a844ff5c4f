import type { AttrStream } from 'netlink/dist/structs.js'
import type { AttachmentKey } from '../ipam/attachment.ts'
import { addressToBytes, addressAt } from '../net/address.ts'
import { outermost } from '../net/outermost.ts'
import { bitsOf, lastAddress, type Prefix } from '../net/prefix.ts'
import { NFT_TABLE } from '../plan/marks.ts'
import { chainOf, elementComment, type Element, type ObservedElement, type SetDefinition } from '../plan/nft-set.ts'
import type { AddElements, DeleteElements } from '../plan/operation.ts'
import { parseOwner } from '../plan/owner.ts'
import type { NetlinkReply, NetlinkRequest } from './netlink-socket.ts'
import {
  attributesIn,
  attributesOf,
  batch,
  commentIn,
  commentUserdata,
  DATA,
  LIST_ELEMENT,
  MESSAGE,
  NLM_F_CREATE,
  NLM_F_EXCL,
  request,
  text,
  textOf,
  u32,
  VERDICT,
  verdict,
  VERDICT_CODE,
} from './nftables-message.ts'
import { decodeFields, encodeFields } from './nftables-set.ts'

/*
 * Elements of our sets and maps as nf_tables requests: what belongs to one attachment goes and comes in one transaction.
 */

const LIST = { table: 1, set: 2, elements: 3 } as const
const ELEMENT = { key: 1, data: 2, flags: 3, userdata: 6 } as const
const INTERVAL_END = 1
/** An attribute has at most 64 KiB, and an element with the longest comment less than 400 bytes. */
const MAX_IN_LIST = 128
/** A bound has no comment, and at most 36 bytes. */
const MAX_BOUNDS_IN_LIST = 1024

/** One transaction that adds all of `elements`: EEXIST when somebody has one of the keys. */
export function addElements(elements: readonly Element[], owner: AttachmentKey): readonly NetlinkRequest[] {
  const userdata = commentUserdata(elementComment(owner))
  return batch(
    bySet(elements).map(([set, members]) =>
      elementsRequest({ message: MESSAGE.newElement, flags: NLM_F_CREATE | NLM_F_EXCL, set }, list => {
        for (const element of members) {
          list.push(LIST_ELEMENT, out => {
            pushKey(out, encodeFields(set.key, element.key))
            pushData(out, element)
            out.push(ELEMENT.userdata, userdata)
          })
        }
      }),
    ),
  )
}

/** One transaction that deletes all of `elements` by their keys: ENOENT when one is not there. */
export function deleteElements(elements: readonly Element[]): readonly NetlinkRequest[] {
  return batch(
    bySet(elements).map(([set, members]) =>
      elementsRequest({ message: MESSAGE.delElement, flags: 0, set }, list => {
        for (const { key } of members) list.push(LIST_ELEMENT, out => pushKey(out, encodeFields(set.key, key)))
      }),
    ),
  )
}

/** The transaction that is the operation. */
export function encodeElements(operation: AddElements | DeleteElements): readonly NetlinkRequest[] {
  return operation.do === 'add-elements'
    ? addElements(operation.elements, operation.owner)
    : deleteElements(operation.elements)
}

/** Asks for one element: ENOENT when it is not there, nor its set, nor the table. */
export function getElement({ set, key }: Element): NetlinkRequest {
  return elementsRequest({ message: MESSAGE.getElement, flags: 0, set }, list =>
    list.push(LIST_ELEMENT, out => pushKey(out, encodeFields(set.key, key))),
  )
}

/** Asks for all elements of a set. */
export function dumpElements(set: SetDefinition): NetlinkRequest {
  return request(MESSAGE.getElement, 0, out => pushSet(out, set))
}

/** The elements of `set` in a reply; of those whose comment is not `comment`, none. */
export function decodeElements(reply: NetlinkReply, set: SetDefinition, comment?: string): readonly ObservedElement[] {
  const list = attributesIn(reply).get(LIST.elements)
  if (list === undefined) return []
  return items(list).flatMap(bytes => {
    // Most are another attachment's: looking for the text costs less than taking the element apart.
    if (comment !== undefined && !bytes.includes(comment)) return []
    const found = attributesOf(bytes)
    const said = commentIn(found.get(ELEMENT.userdata))
    if (comment !== undefined && said !== comment) return []
    return [decodeElement(found, set, said)]
  })
}

/** One transaction after which an interval set holds exactly `prefixes`. */
export function replaceElements(set: SetDefinition, prefixes: readonly Prefix[]): readonly NetlinkRequest[] {
  const flush = request(MESSAGE.delElement, 0, out => pushSet(out, set))
  if (prefixes.length === 0) return batch([flush])
  const additions = slices(boundsOf(prefixes), MAX_BOUNDS_IN_LIST).map(bounds =>
    elementsRequest({ message: MESSAGE.newElement, flags: NLM_F_CREATE, set }, list => {
      for (const { bytes, isEnd } of bounds) {
        list.push(LIST_ELEMENT, out => {
          pushKey(out, bytes)
          if (isEnd) out.push(ELEMENT.flags, u32(INTERVAL_END))
        })
      }
    }),
  )
  return batch([flush, ...additions])
}

/** The bounds that an interval set has for `prefixes`, as text that two sets share when they hold the same. */
export function boundsText(prefixes: readonly Prefix[]): readonly string[] {
  return boundsOf(prefixes).map(({ bytes, isEnd }) => boundText(bytes, isEnd))
}

/** The bounds of an interval set in a reply, as boundsText() renders them. */
export function decodeBounds(reply: NetlinkReply): readonly string[] {
  const list = attributesIn(reply).get(LIST.elements)
  if (list === undefined) return []
  return items(list).map(bytes => {
    const found = attributesOf(bytes)
    const isEnd = ((found.get(ELEMENT.flags)?.readUInt32BE() ?? 0) & INTERVAL_END) !== 0
    return boundText(attributesOf(found.get(ELEMENT.key)).get(DATA.value) ?? Buffer.alloc(0), isEnd)
  })
}

interface Bound {
  readonly bytes: Buffer
  readonly isEnd: boolean
}

/** Where each prefix begins, and the first address after it. One that lies in another is part of it. */
function boundsOf(prefixes: readonly Prefix[]): readonly Bound[] {
  return outermost(prefixes).flatMap(prefix => {
    const { family } = prefix.address
    const after = lastAddress(prefix).value + 1n
    const begin = { bytes: Buffer.from(addressToBytes(prefix.address)), isEnd: false }
    if (after >= 1n << BigInt(bitsOf(family))) return [begin]
    return [begin, { bytes: Buffer.from(addressToBytes(addressAt(family, after))), isEnd: true }]
  })
}

function boundText(bytes: Buffer, isEnd: boolean): string {
  return `${isEnd ? 'before' : 'from'} ${bytes.toString('hex')}`
}

function decodeElement(
  found: ReadonlyMap<number, Buffer>,
  set: SetDefinition,
  comment: string | undefined,
): ObservedElement {
  const key = decodeFields(set.key, attributesOf(found.get(ELEMENT.key)).get(DATA.value) ?? Buffer.alloc(0))
  const data = attributesOf(found.get(ELEMENT.data))
  const owner = comment === undefined ? undefined : parseOwner(comment)?.attachment
  return { set, key, ...dataOf(set, data), ...(owner === undefined ? {} : { owner }) }
}

function dataOf(set: SetDefinition, data: ReadonlyMap<number, Buffer>): Pick<Element, 'data'> {
  if (set.data === undefined) return {}
  if (set.data === 'verdict') return { data: [textOf(attributesOf(data.get(DATA.verdict)).get(VERDICT.chain))] }
  return { data: decodeFields(set.data, data.get(DATA.value) ?? Buffer.alloc(0)) }
}

interface ElementsMessage {
  readonly message: number
  readonly flags: number
  readonly set: SetDefinition
}

function elementsRequest(of: ElementsMessage, encode: (list: AttrStream) => void): NetlinkRequest {
  return request(of.message, of.flags, out => {
    pushSet(out, of.set)
    out.push(LIST.elements, encode)
  })
}

function pushSet(out: AttrStream, { name }: SetDefinition): void {
  out.push(LIST.table, text(NFT_TABLE))
  out.push(LIST.set, text(name))
}

function pushKey(out: AttrStream, bytes: Buffer): void {
  out.push(ELEMENT.key, key => key.push(DATA.value, bytes))
}

function pushData(out: AttrStream, element: Element): void {
  const { set, data = [] } = element
  if (set.data === undefined) return
  if (set.data === 'verdict') return void out.push(ELEMENT.data, verdict(VERDICT_CODE.jump, chainOf(element)))
  const bytes = encodeFields(set.data, data)
  out.push(ELEMENT.data, to => to.push(DATA.value, bytes))
}

/** In lists of one set each, none of them longer than an attribute may be. */
function bySet(elements: readonly Element[]): readonly (readonly [SetDefinition, readonly Element[]])[] {
  const sets = new Map(elements.map(({ set }) => [set.name, set]))
  return [...sets.values()].flatMap(set => {
    const members = elements.filter(element => element.set.name === set.name)
    return slices(members, MAX_IN_LIST).map(list => [set, list] as const)
  })
}

function slices<T>(all: readonly T[], most: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(all.length / most) }, (_, index) => all.slice(index * most, (index + 1) * most))
}

/** The items of a list of attributes, which all have the same number. */
function items(list: Buffer): readonly Buffer[] {
  const found: Buffer[] = []
  for (let at = 0; at + 4 <= list.length;) {
    const length = list.readUInt16LE(at)
    if (length < 4 || at + length > list.length) throw new Error('an element of nf_tables has a wrong length')
    found.push(list.subarray(at + 4, at + length))
    at += (length + 3) & ~3
  }
  return found
}
