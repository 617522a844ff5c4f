import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type JsonObject, asObject, asObjects } from './json.ts'
import type { Netns } from './namespace.ts'

export interface SnapshotOptions {
  /** Folders of which every path below is part of the snapshot. */
  readonly folders?: readonly string[]
}

/** One kind of state, and what there is of it, sorted. */
export interface SnapshotSection {
  readonly title: string
  readonly entries: readonly string[]
}

/** What two snapshots do not share, each entry with the title of its section. */
export interface SnapshotDifference {
  readonly added: readonly string[]
  readonly removed: readonly string[]
}

/** Reads all network state of a namespace that a plugin could leave behind, and the paths below the given folders. */
export async function takeSnapshot(netns: Netns, options: SnapshotOptions = {}): Promise<readonly SnapshotSection[]> {
  const folders = options.folders ?? []
  return [
    { title: 'links', entries: await links(netns) },
    { title: 'addresses', entries: await addresses(netns) },
    { title: 'IPv4 routes', entries: await lines(netns, ['ip', '-4', 'route', 'show', 'table', 'all']) },
    { title: 'IPv6 routes', entries: await lines(netns, ['ip', '-6', 'route', 'show', 'table', 'all']) },
    { title: 'IPv4 rules', entries: await lines(netns, ['ip', '-4', 'rule']) },
    { title: 'IPv6 rules', entries: await lines(netns, ['ip', '-6', 'rule']) },
    { title: 'neighbours', entries: await lines(netns, ['ip', 'neighbour', 'show', 'nud', 'permanent']) },
    { title: 'proxied neighbours', entries: await lines(netns, ['ip', 'neighbour', 'show', 'proxy']) },
    { title: 'nftables', entries: await nftTables(netns) },
    { title: 'sysctls', entries: await sysctls(netns) },
    { title: 'files', entries: (await Promise.all(folders.map(paths))).flat().toSorted() },
  ]
}

/** A snapshot as text, for `t.equal(await snapshotOf(node), before)`: the first difference is then easy to see. */
export async function snapshotOf(netns: Netns, options: SnapshotOptions = {}): Promise<string> {
  return renderSnapshot(await takeSnapshot(netns, options))
}

export function renderSnapshot(snapshot: readonly SnapshotSection[]): string {
  return snapshot.map(({ title, entries }) => [`# ${title}`, ...entries, ''].join('\n')).join('\n')
}

/** What `after` has and `before` has not, and the other way round. */
export function compareSnapshots(
  before: readonly SnapshotSection[],
  after: readonly SnapshotSection[],
): SnapshotDifference {
  const [was, is] = [titled(before), titled(after)]
  return { added: is.filter(entry => !was.includes(entry)), removed: was.filter(entry => !is.includes(entry)) }
}

function titled(snapshot: readonly SnapshotSection[]): readonly string[] {
  return snapshot.flatMap(({ title, entries }) => entries.map(entry => `${title}: ${entry}`))
}

/** Links without what changes by itself: index, queueing and operational state, statistics. */
async function links(netns: Netns): Promise<readonly string[]> {
  const found = asObjects(JSON.parse(await netns.run(['ip', '-json', '-details', 'link', 'show'])), 'ip link')
  return found
    .map(link =>
      render(link, ['ifname', 'address', 'mtu', 'group', 'ifalias', 'master', 'inet6_addr_gen_mode'], kindOf(link)),
    )
    .toSorted()
}

function kindOf(link: JsonObject): string {
  const { linkinfo, flags } = link
  const kind = linkinfo === undefined ? undefined : asObject(linkinfo, 'linkinfo')['info_kind']
  const isUp = Array.isArray(flags) && flags.includes('UP')
  return `kind ${typeof kind === 'string' ? kind : 'none'} ${isUp ? 'up' : 'down'}`
}

async function addresses(netns: Netns): Promise<readonly string[]> {
  const found = asObjects(JSON.parse(await netns.run(['ip', '-json', 'address', 'show'])), 'ip address')
  const each = found.flatMap(link =>
    asObjects(link['addr_info'] ?? [], 'addr_info').map(address =>
      render({ ifname: link['ifname'], ...address }, [
        'ifname',
        'local',
        'prefixlen',
        'peer',
        'scope',
        'tentative',
        'dadfailed',
      ]),
    ),
  )
  return each.toSorted()
}

function render(object: JsonObject, keys: readonly string[], more = ''): string {
  const known = keys.filter(key => object[key] !== undefined).map(key => `${key} ${String(object[key])}`)
  return [...known, more].join(' ').trim()
}

async function lines(netns: Netns, command: readonly ['ip', ...string[]]): Promise<readonly string[]> {
  const text = await netns.run(command)
  return text
    .split('\n')
    .map(tidy)
    .filter(line => line !== '')
    .toSorted()
}

/** Drops what counts down by itself, and iproute2's padding. */
function tidy(line: string): string {
  return (
    line
      .replace(/ expires \S+/, '')
      // Whether a bridge without ports has lost its carrier yet is the kernel's business.
      .replace(/ linkdown\b/, '')
      .replaceAll(/\s+/g, ' ')
      .trim()
  )
}

/** One entry for each table, without counters. */
async function nftTables(netns: Netns): Promise<readonly string[]> {
  const ruleset = await netns.run(['nft', '--stateless', 'list', 'ruleset'])
  return ruleset
    .split(/^(?=table )/m)
    .map(table => table.trim())
    .filter(table => table.startsWith('table '))
    .toSorted()
}

/** Forwarding and everything that holds for all interfaces or for new ones. Those of one interface go with it. */
async function sysctls(netns: Netns): Promise<readonly string[]> {
  const folders = ['ipv4/conf/all', 'ipv4/conf/default', 'ipv6/conf/all', 'ipv6/conf/default'] as const
  const text = await netns.run([
    // stable_secret cannot be read before it was set.
    ...(['grep', '--recursive', '--exclude=stable_secret', '', '/proc/sys/net/ipv4/ip_forward'] as const),
    ...folders.map(folder => `/proc/sys/net/${folder}`),
  ])
  return text
    .trimEnd()
    .split('\n')
    .map(line => line.replace('/proc/sys/', '').replace(':', ' = '))
    .toSorted()
}

/** Every path below `folder`; none when there is no such folder. */
async function paths(folder: string): Promise<readonly string[]> {
  try {
    const found = await readdir(folder, { recursive: true, withFileTypes: true })
    return found.map(entry => join(entry.parentPath, entry.name))
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return []
    throw cause
  }
}
