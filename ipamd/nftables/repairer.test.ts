import t from 'tap'
import { FakeKernel } from '../../lib/kernel/fake-kernel.ts'
import { FakeNetns } from '../../lib/kernel/fake-netns.ts'
import { attachmentKeyText } from '../../lib/ipam/attachment.ts'
import { parseAddress } from '../../lib/net/address.ts'
import { parseMac } from '../../lib/net/mac.ts'
import { formatPrefix, parsePrefix } from '../../lib/net/prefix.ts'
import { elementsOf, rulesetsOf, type Exposure } from '../../lib/plan/exposure.ts'
import { hostIfNameOf } from '../../lib/plan/link-names.ts'
import { LINK_GROUP } from '../../lib/plan/marks.ts'
import { renderElement } from '../../lib/plan/nft-set.ts'
import { formatOwner } from '../../lib/plan/owner.ts'
import { Deadline, DeadlineExceeded } from '../../lib/time/deadline.ts'
import { Repairer, type Repair } from './repairer.ts'

// Whatever somebody does to our table, a turn makes it what the pods need (checklist R18).

function exposureOf(containerId: string, number: number): Exposure {
  return {
    attachment: { network: 'net1', containerId, ifName: 'eth0' },
    addresses: [parseAddress(`10.244.1.${number}`)],
    ports: [{ protocol: 'udp', hostPort: number, containerPort: 53 }],
    isHairpinMasqueraded: true,
    masquerade: { except: [parsePrefix('10.0.0.0/8')] },
  }
}

/** A node with two pods that ADD has exposed. */
class Node {
  readonly host = new FakeNetns()
  readonly kept = new Map<string, Exposure>()
  readonly repairs: Repair[] = []
  readonly busy = new Set<string>()
  opened = 0
  looks = 0
  readonly repairer: Repairer

  constructor() {
    const log = { info: () => {}, warn: () => {}, error: () => {} }
    this.repairer = new Repairer({
      openKernel: () => {
        this.opened++
        return new FakeKernel({ host: this.host, fault: step => void (step === 'observeOwnLinks' && this.looks++) })
      },
      lock: async attachment => {
        if (this.busy.has(attachment.containerId)) throw new DeadlineExceeded('waiting for the lock')
        return { [Symbol.dispose]: () => {} }
      },
      readExposures: () => ({ exposures: [...this.kept.values()], unreadable: [] }),
      dropExposure: attachment => void this.kept.delete(attachmentKeyText(attachment)),
      poolPrefixes: () => ['10.244.0.0/16', 'fd00::/56'].map(parsePrefix),
      count: what => void this.repairs.push(what),
      log,
    })
  }

  static async withPods(): Promise<Node> {
    const node = new Node()
    using kernel = new FakeKernel({ host: node.host })
    const by = Deadline.in(10_000)
    for (const exposure of [exposureOf('one', 7), exposureOf('two', 8)]) {
      node.addLink(exposure)
      for (const ruleset of rulesetsOf(exposure)) await kernel.replaceRuleset(ruleset, by)
      await kernel.apply({ do: 'add-elements', owner: exposure.attachment, elements: elementsOf(exposure) }, by)
      node.kept.set(attachmentKeyText(exposure.attachment), exposure)
    }
    await node.turn()
    node.repairs.length = 0
    return node
  }

  addLink({ attachment }: Exposure, isComplete = true): void {
    const name = hostIfNameOf(attachment)
    const mac = parseMac('02:00:00:00:00:01')
    const link = this.host.addLink({ name, kind: 'veth', mac, mtuBytes: 1500, group: LINK_GROUP })
    if (typeof link === 'string') throw new Error(link)
    link.alias = formatOwner({ attachment, isComplete })
  }

  removeLink({ attachment }: Exposure): void {
    const link = this.host.link(hostIfNameOf(attachment))
    if (link !== undefined) this.host.deleteLink(link)
  }

  async turn(isThorough = false): Promise<void> {
    await this.repairer.turn({ isThorough })
  }

  async findings(): Promise<readonly string[]> {
    using kernel = new FakeKernel({ host: this.host })
    return (await this.repairer.findings(kernel, Deadline.in(10_000))).map(({ kind }) => kind)
  }

  /** All of our table, as text. */
  table(): string {
    const elements = [...this.host.sets].map(([name, held]) => [
      name,
      ...[...held.values()].map(each => `${renderElement(each)} of ${each.owner?.containerId}`).toSorted(),
    ])
    const prefixes = [...this.host.prefixSets].map(([name, held]) => [name, ...held.map(formatPrefix)])
    return JSON.stringify(
      [[...this.host.chains], elements, prefixes].map(part => part.map(each => JSON.stringify(each)).toSorted()),
    )
  }
}

const vandals: readonly (readonly [string, (host: FakeNetns) => void])[] = [
  ['flushes everything', host => host.flushTables()],
  ['deletes a chain', host => void host.chains.delete('hostports')],
  ['deletes a rule', host => void host.chains.set('hostports-in', [])],
  ['deletes a set', host => void host.sets.delete('hairpins-4')],
  ['empties a set', host => host.sets.get('hostports-4')?.clear()],
  ['empties the prefixes of the pools', host => void host.prefixSets.set('pools-4', [])],
  [
    'changes where a port leads',
    host => {
      const held = host.sets.get('hostports-4')
      const element = held?.get('udp . 7')
      if (element !== undefined) held?.delete('udp . 7')
    },
  ],
]

for (const [what, vandalise] of vandals) {
  t.test(`turn() puts everything back when somebody ${what}`, async t => {
    const node = await Node.withPods()
    const before = node.table()
    t.same(await node.findings(), [])
    vandalise(node.host)
    node.host.nftGeneration++
    t.not(node.table(), before)
    if (!what.includes('prefixes')) t.ok((await node.findings()).length > 0, 'it is found')
    await node.turn()
    t.equal(node.table(), before)
    t.ok(node.repairs.length > 0, 'and counted')
    t.same(await node.findings(), [])
    node.repairs.length = 0
    await node.turn()
    t.same(node.repairs, [])
  })
}

t.test('turn() looks only when a table has changed, or when it is to be thorough', async t => {
  const node = await Node.withPods()
  await node.turn()
  const { looks } = node
  await node.turn()
  await node.turn()
  t.equal(node.looks, looks)
  await node.turn(true)
  t.equal(node.looks, looks + 1)
  t.equal(node.opened, 1, 'over one socket')
})

t.test('turn() removes what an attachment without an interface has left, and nothing of others', async t => {
  const node = await Node.withPods()
  node.removeLink(exposureOf('one', 7))
  t.ok((await node.findings()).every(kind => kind === 'element-without-link'))
  await node.turn(true)
  t.notMatch(node.table(), 'of one')
  t.match(node.table(), 'of two')
  t.same([...node.kept.keys()], ['net1/two/eth0'])
  t.same(node.repairs, ['abandoned'])
  t.equal(node.host.forgotten.at(-1)?.hostPort, 7, 'and its UDP flows (R19)')
})

t.test('turn() does nothing about an attachment that somebody works on, nor about an unfinished one', async t => {
  const node = await Node.withPods()
  node.busy.add('one')
  node.removeLink(exposureOf('two', 8))
  node.addLink(exposureOf('two', 8), false)
  node.host.sets.get('hostports-4')?.clear()
  node.host.nftGeneration++
  const before = node.table()
  await node.turn()
  t.equal(node.table(), before)
  node.busy.clear()
  await node.turn()
  t.match(node.table(), 'of one', 'the next turn does, though no table has changed')
})

t.test('turn() restores nothing of records whose pods are gone, as after a restart of the machine', async t => {
  const node = await Node.withPods()
  node.host.flushTables()
  for (const exposure of node.kept.values()) node.removeLink(exposure)
  await node.turn()
  t.same([node.host.chains.size, node.host.sets.size, node.kept.size], [0, 0, 0])
})

t.test('findings() names elements of which nothing is kept, and leaves them', async t => {
  const node = await Node.withPods()
  node.kept.delete('net1/one/eth0')
  t.ok((await node.findings()).every(kind => kind === 'element-without-record'))
  const before = node.table()
  await node.turn(true)
  t.equal(node.table(), before)
})

t.test('turn() opens another socket after one that failed', async t => {
  const node = await Node.withPods()
  const { opened } = node
  node.repairer.close()
  await node.turn()
  t.equal(node.opened, opened + 1)
})
