import type { AttachmentKey } from '../ipam/attachment.ts'
import type { Prefix } from '../net/prefix.ts'
import { ELEMENT_SETS, OWNERS } from '../plan/exposure-ruleset.ts'
import { hostIfNameOf } from '../plan/link-names.ts'
import { elementComment, type ObservedElement, type SetDefinition } from '../plan/nft-set.ts'
import type { AddElements, DeleteElements } from '../plan/operation.ts'
import { ruleComment, type Ruleset } from '../plan/ruleset.ts'
import type { Deadline } from '../time/deadline.ts'
import { NetlinkError } from './netlink-error.ts'
import type { NetlinkReply, NetlinkRequest, NetlinkSocket } from './netlink-socket.ts'
import * as elements from './nftables-elements.ts'
import * as encode from './nftables-encode.ts'

/** Our nftables table over a socket of NETLINK_NETFILTER. Every method throws what the socket throws. */
export class Nftables {
  readonly #socket: NetlinkSocket
  readonly #reader: NetlinkSocket

  /** @param reader for single objects, where there is a better socket for these. */
  constructor(socket: NetlinkSocket, reader = socket) {
    this.#socket = socket
    this.#reader = reader
  }

  async hasRuleset({ sets, chains }: Ruleset, by: Deadline): Promise<boolean> {
    const found = await orUndefined(
      this.#getAll([encode.getTable(), ...chains.map(encode.getChain), ...sets.map(encode.getSet)], by),
    )
    if (found === undefined) return false
    const [table, ...rest] = found
    const isWhole =
      table !== undefined &&
      encode.isTableAwake(table) &&
      chains.every((chain, index) => isPresent(rest[index]) && encode.isSameChain(rest[index], chain)) &&
      sets.every((set, index) => {
        const reply = rest[chains.length + index]
        return isPresent(reply) && encode.isSameSet(reply, set)
      })
    if (!isWhole) return false
    const rules = (await this.#socket.dump(encode.dumpRules(), by)).map(encode.decodeRule)
    return chains.every(({ name, rules: wanted }) => {
      const comments = rules.filter(({ chain }) => chain === name).map(({ comment }) => comment)
      return comments.length === wanted.length && wanted.every((rule, index) => comments[index] === ruleComment(rule))
    })
  }

  async replaceRuleset(ruleset: Ruleset, by: Deadline): Promise<void> {
    const table = await this.#getOrUndefined(encode.getTable(), by)
    if (table !== undefined && !encode.isTableAwake(table)) await this.#socket.transaction(encode.wakeTable(), by)
    const replaced: { chains: Ruleset['chains'][number][]; sets: SetDefinition[] } = { chains: [], sets: [] }
    for (const chain of table === undefined ? [] : ruleset.chains) {
      const reply = await this.#getOrUndefined(encode.getChain(chain), by)
      if (reply !== undefined && !encode.isSameChain(reply, chain)) replaced.chains.push(chain)
    }
    for (const set of table === undefined ? [] : ruleset.sets) {
      const reply = await this.#getOrUndefined(encode.getSet(set), by)
      if (reply !== undefined && !encode.isSameSet(reply, set)) replaced.sets.push(set)
    }
    await this.#socket.transaction(encode.replaceRules(ruleset, replaced), by)
  }

  async generation(by: Deadline): Promise<number> {
    const reply = await this.#reader.get(encode.getGeneration(), by)
    return reply === undefined ? 0 : encode.decodeGeneration(reply)
  }

  async elementsOf(of: AttachmentKey | 'all', by: Deadline): Promise<readonly ObservedElement[]> {
    if (of === 'all') return await this.elementsIn([...ELEMENT_SETS, OWNERS], by)
    const comment = elementComment(of)
    const key = { set: OWNERS, key: [hostIfNameOf(of)] }
    const reply = await this.#getOrUndefined(elements.getElement(key), by)
    const owners = reply === undefined ? [] : elements.decodeElements(reply, OWNERS, comment)
    const bits = owners[0]?.data?.[0]
    const sets = ELEMENT_SETS.filter((_, index) => typeof bits === 'number' && (bits & (1 << index)) !== 0)
    return [...(await this.elementsIn(sets, by, comment)), ...owners]
  }

  /** With a comment: only elements that have it. */
  async elementsIn(
    sets: readonly SetDefinition[],
    by: Deadline,
    comment?: string,
  ): Promise<readonly ObservedElement[]> {
    const found: ObservedElement[] = []
    for (const set of sets) {
      const replies = await orUndefined(this.#socket.dump(elements.dumpElements(set), by))
      for (const reply of replies ?? []) found.push(...elements.decodeElements(reply, set, comment))
    }
    return found
  }

  async changeElements(operation: AddElements | DeleteElements, by: Deadline): Promise<void> {
    await this.#socket.transaction(elements.encodeElements(operation), by)
  }

  async ensureContent(set: SetDefinition, prefixes: readonly Prefix[], by: Deadline): Promise<boolean> {
    const held = (await this.#socket.dump(elements.dumpElements(set), by)).flatMap(elements.decodeBounds)
    const wanted = elements.boundsText(prefixes)
    if (held.length === wanted.length && new Set([...held, ...wanted]).size === wanted.length) return false
    await this.#socket.transaction(elements.replaceElements(set, prefixes), by)
    return true
  }

  /** One object for each request, in one exchange. */
  async #getAll(requests: readonly NetlinkRequest[], by: Deadline): Promise<readonly NetlinkReply[]> {
    return await this.#reader.transaction(requests, by)
  }

  #getOrUndefined(request: NetlinkRequest, by: Deadline): Promise<NetlinkReply | undefined> {
    return this.#reader.get(request, by, ['ENOENT'])
  }
}

/** Undefined when the kernel has no such thing. */
async function orUndefined<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked
  } catch (failure) {
    if (failure instanceof NetlinkError && failure.code === 'ENOENT') return undefined
    throw failure
  }
}

function isPresent<T>(value: T | undefined): value is T {
  return value !== undefined
}
