import t from 'tap'
import { parseIfName, type IfName } from '../net/if-name.ts'
import { parseMac } from '../net/mac.ts'
import type { Kernel } from '../plan/kernel.ts'
import { LINK_GROUP } from '../plan/marks.ts'
import type { AddShaper, Operation } from '../plan/operation.ts'
import { renderOperation } from '../plan/render.ts'
import { Deadline } from '../time/deadline.ts'
import { outcomeOf, type ContractSubject } from './kernel-contract.ts'

const TUL = parseIfName('tulcontract')
const TIB = parseIfName('tibcontract')
const OTHER = parseIfName('tibother')

const soon = (): Deadline => Deadline.in(10_000)
const VETH: Operation = {
  do: 'add-veth',
  hostIfName: TUL,
  hostMac: parseMac('02:00:00:00:00:01'),
  podIfName: parseIfName('eth0'),
  podMac: parseMac('02:00:00:00:00:02'),
  hostMtuBytes: 1450,
  podMtuBytes: 1450,
}
const ifb = (link = TIB): Operation => ({ do: 'add-ifb', at: 'host', link, mtuBytes: 1450 })
const deleteLink = (link: IfName): Operation => ({ do: 'delete-link', at: 'host', link })
const redirect = (to = TIB): Operation => ({ do: 'redirect-ingress', at: 'host', link: TUL, to })
const shape = (link: IfName, changes: Partial<AddShaper> = {}): Operation => ({
  do: 'add-shaper',
  at: 'host',
  link,
  bytesPerSecond: 1_250_000,
  burstBytes: 65_536,
  limitBytes: 96_786,
  ...changes,
})

interface Scenario {
  readonly name: string
  readonly run: readonly (Operation | readonly [errno: string, operation: Operation])[]
  /** What is there at the end, as `describe` renders it. */
  readonly want: readonly string[]
}

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'makes an ifb, down, with the mark of ours, which counts as no interface of a pod',
    run: [ifb(), ['EEXIST', ifb()]],
    want: ['ifb tibcontract mtu 1450 down'],
  },
  {
    name: 'finds an ifb that carries its owner and is up',
    run: [ifb(), { do: 'set-link', at: 'host', link: TIB, alias: 'ours', up: true }],
    want: [`ifb tibcontract mtu 1450 up 'ours'`],
  },
  {
    name: 'shapes what leaves a link, once',
    run: [VETH, shape(TUL), ['EEXIST', shape(TUL)], ['ENODEV', shape(TIB)]],
    want: ['veth tulcontract', 'tulcontract shapes to 1250000 bytes/s, limit 96786'],
  },
  {
    name: 'shapes to a rate that does not fit 32 bits, and to one byte a second',
    run: [
      VETH,
      shape(TUL, { bytesPerSecond: 12_500_000_001, burstBytes: 250_000_000, limitBytes: 0xffff_ffff }),
      ifb(),
      shape(TIB, { bytesPerSecond: 1 }),
    ],
    want: [
      'ifb tibcontract mtu 1450 down',
      'veth tulcontract',
      'tulcontract shapes to 12500000001 bytes/s, limit 4294967295',
      'tibcontract shapes to 1 bytes/s, limit 96786',
    ],
  },
  {
    name: 'leads what arrives at a link through another',
    run: [VETH, ['ENODEV', redirect()], ifb(OTHER), ifb(), redirect()],
    want: [
      'ifb tibcontract mtu 1450 down',
      'ifb tibother mtu 1450 down',
      'veth tulcontract',
      'tulcontract leads to tibcontract',
    ],
  },
  {
    name: 'leads nowhere when the other link is removed',
    run: [VETH, ifb(), redirect(), deleteLink(TIB)],
    want: ['veth tulcontract'],
  },
  {
    name: 'forgets all of it with the link, which leaves the ifb',
    run: [VETH, ifb(), shape(TUL), redirect(), deleteLink(TUL), VETH],
    want: ['ifb tibcontract mtu 1450 down', 'veth tulcontract'],
  },
]

/** What every Kernel has to do to shape: as kernelContract(). */
export function shapingContract(name: string, open: () => Promise<ContractSubject>): void {
  for (const { name: what, run, want } of SCENARIOS) {
    t.test(`${name} kernel ${what}`, async t => {
      const subject = await open()
      t.teardown(() => subject.dispose())
      const { kernel } = subject
      for (const step of run) {
        const [wanted, operation] = 'do' in step ? ['done', step] : step
        t.equal(await outcomeOf(kernel.apply(operation, soon())), wanted, renderOperation(operation))
      }
      t.strictSame(await describe(kernel), [...want])
      await t.rejects(kernel.observeOwnIfbs(Deadline.in(0)), { name: 'DeadlineExceeded' })
      await t.rejects(kernel.observeShaping(TUL, Deadline.in(0)), { name: 'DeadlineExceeded' })
    })
  }
}

/** The ifbs of ours, the veths of ours, then what shapes and leads. */
async function describe(kernel: Kernel): Promise<readonly string[]> {
  const ifbs = await kernel.observeOwnIfbs(soon())
  const links = await kernel.observeOwnLinks(soon())
  const lines = [
    ...ifbs.map(({ name, mtuBytes, isUp, alias }) =>
      [`ifb ${name} mtu ${mtuBytes}`, isUp ? 'up' : 'down', ...(alias === undefined ? [] : [`'${alias}'`])].join(' '),
    ),
    ...links.map(({ kind, name }) => `${kind} ${name}`),
  ].toSorted()
  if ([...ifbs, ...links].some(({ group }) => group !== LINK_GROUP)) throw new Error('a link is not in our group')
  for (const name of [TUL, TIB]) {
    const { shaper, redirectsTo } = await kernel.observeShaping(name, soon())
    if (shaper !== undefined)
      lines.push(`${name} shapes to ${shaper.bytesPerSecond} bytes/s, limit ${shaper.limitBytes}`)
    if (redirectsTo === undefined) continue
    lines.push(`${name} leads to ${ifbs.find(({ index }) => index === redirectsTo)?.name ?? 'somewhere else'}`)
  }
  return lines
}
