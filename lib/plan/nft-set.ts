import { formatAddress, type Address } from '../net/address.ts'
import type { AttachmentKey } from '../ipam/attachment.ts'
import { formatPrefix, type Prefix } from '../net/prefix.ts'
import { NFT_TABLE } from './marks.ts'
import { formatOwner } from './owner.ts'

/** What one field of a key or of a value of a map is, by nftables' name for the type. */
export type FieldType = 'inet_proto' | 'inet_service' | 'ipv4_addr' | 'ipv6_addr' | 'ifname' | 'mark'

/** A set of our table; with `data`, a map. */
export interface SetDefinition {
  readonly name: string
  readonly key: readonly FieldType[]
  /** What a map leads to: fields, or the chain to go on in. */
  readonly data?: readonly FieldType[] | 'verdict'
  /** True for one that holds prefixes. */
  readonly isInterval?: true
}

/** A field's value: an address, a protocol by its name, an interface's name, a port or a mark; or the chain to jump to. */
export type FieldValue = Address | string | number

/** An element of a set or of a map, as a value. Its comment in the kernel says whose it is. */
export interface Element {
  readonly set: SetDefinition
  readonly key: readonly FieldValue[]
  /** Of a map: what the key leads to; the name of one chain where the map leads to verdicts. */
  readonly data?: readonly FieldValue[]
}

/** An element as the kernel has it. */
export interface ObservedElement extends Element {
  /** Undefined when it has no comment that says so: then it is not ours, or somebody has edited it. */
  readonly owner?: AttachmentKey
}

/** Renders `element` in nft(8)'s language, without a comment: the same text means the same element. */
export function renderElement(element: Element): string {
  return `${renderKey(element)}${element.data === undefined ? '' : ` : ${renderData(element)}`}`
}

/** The text that stands for the key of `element` in its set. */
export function renderKey({ key }: Element): string {
  return key.map(renderValue).join(' . ')
}

/** The chain that an element of a verdict map leads to. */
export function chainOf({ data }: Element): string {
  const [chain] = data ?? []
  if (typeof chain !== 'string') throw new TypeError('want an element that leads to a chain')
  return chain
}

/** Renders a command that adds or deletes `elements`, all in one transaction. */
export function renderElements(verb: 'add' | 'delete', elements: readonly Element[], owner: AttachmentKey): string {
  const comment = verb === 'add' ? ` comment "${elementComment(owner)}"` : ''
  const commands = elements.map(element => {
    const data = verb === 'delete' || element.data === undefined ? '' : ` : ${renderData(element)}`
    return `${verb} element inet ${NFT_TABLE} ${element.set.name} { ${renderKey(element)}${comment}${data} }`
  })
  return `nft '${commands.join('; ')}'`
}

/** Whose an element is, in its comment: the text that is an interface's alias, too. */
export function elementComment(owner: AttachmentKey): string {
  return formatOwner({ attachment: owner, isComplete: true })
}

/** Renders `set` as nft(8) lists it, without elements. */
export function renderSet({ name, key, data, isInterval }: SetDefinition): string {
  const to = data === undefined ? '' : ` : ${data === 'verdict' ? data : data.join(' . ')}`
  const flags = isInterval ? ['\t\tflags interval'] : []
  return [
    `\t${data === undefined ? 'set' : 'map'} ${name} {`,
    `\t\ttype ${key.join(' . ')}${to}`,
    ...flags,
    '\t}',
  ].join('\n')
}

/** Renders the command that makes an interval set hold exactly `prefixes`. */
export function renderSetContent(set: SetDefinition, prefixes: readonly Prefix[]): string {
  const add =
    prefixes.length === 0
      ? ''
      : `; add element inet ${NFT_TABLE} ${set.name} { ${prefixes.map(formatPrefix).join(', ')} }`
  return `nft 'flush set inet ${NFT_TABLE} ${set.name}${add}'`
}

function renderData(element: Element): string {
  const { set, data = [] } = element
  return set.data === 'verdict' ? `jump ${chainOf(element)}` : data.map(renderValue).join(' . ')
}

function renderValue(value: FieldValue): string {
  return typeof value === 'object' ? formatAddress(value) : String(value)
}
