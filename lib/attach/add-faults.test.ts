import t from 'tap'
import type { FaultHook, KernelFault } from '../kernel/fake-kernel.ts'
import { hostIfNameOf } from '../plan/link-names.ts'
import { renderOperation } from '../plan/render.ts'
import { FakeNode, operationsIn, type FakeRun } from './fake-edges.ts'

// What an ADD that fails leaves behind, wherever it fails: nothing (A9). Every use of the kernel fails in turn, reads too.

const KEY = 'net1/c1/eth0'
const HOST_IF_NAME = hostIfNameOf({ network: 'net1', containerId: 'c1', ifName: 'eth0' })

function eachHow(): readonly (readonly [KernelFault['how'], Asked])[] {
  return (['refused', 'answer lost'] as const).flatMap(how => RUNS.map(asked => [how, asked] as const))
}

/** Fails the steps of these numbers, counted from 1. */
function failSteps(numbers: readonly number[], fault: KernelFault): FaultHook {
  let step = 0
  return () => (numbers.includes(++step) ? fault : undefined)
}

const EXPOSED = {
  config: {
    ipMasq: true,
    ingressRate: 10_000_000,
    egressRate: 10_000_000,
    runtimeConfig: { portMappings: [{ hostPort: 53, containerPort: 53, protocol: 'udp' }] },
  },
} as const
const ON_BRIDGE = { config: { mode: 'bridge', isDefaultGateway: true, hairpinMode: true, macspoofchk: true } } as const
/** What an ADD is asked for, and how many steps it has. */
const RUNS: readonly Asked[] = [
  { what: 'a pod', run: {}, steps: await stepsOfAdd({}) },
  { what: 'a pod with a port, masqueraded, and limits', run: EXPOSED, steps: await stepsOfAdd(EXPOSED) },
  { what: 'a pod on a bridge', run: ON_BRIDGE, steps: await stepsOfAdd(ON_BRIDGE) },
]
const STEPS = RUNS[0]?.steps ?? 0

interface Asked {
  readonly what: string
  readonly run: FakeRun
  readonly steps: number
}

/** A fresh node; one with its bridge where pods are on one, because no DEL takes that back. */
async function nodeFor(run: FakeRun): Promise<FakeNode> {
  const node = new FakeNode()
  if (run !== ON_BRIDGE) return node
  await node.run('ADD', run)
  await node.run('DEL', run)
  for (const list of [node.steps, node.events, node.ipam.released]) list.length = 0
  return node
}

async function stepsOfAdd(run: FakeRun): Promise<number> {
  const node = await nodeFor(run)
  const { exitCode } = await node.run('ADD', run)
  if (exitCode !== 0) throw new Error('ADD fails without a fault')
  // Reads, the veth pair and everything on it, and the alias at the end.
  if (operationsIn(node.steps).length < 15) throw new Error('ADD does less than is known of it')
  return node.steps.length
}

for (const [how, { what: asked, run, steps }] of eachHow()) {
  t.test(
    `add() of ${asked} undoes everything and reports the first error, whichever of its ${steps} steps is ${how} (A9)`,
    async t => {
      for (let number = 1; number <= steps; number++) {
        const node = await nodeFor(run)
        const before = node.render()
        node.fault = failSteps([number], { errno: 'ENOBUFS', how })
        const { exitCode, json } = await node.run('ADD', run)
        const what = `step ${number}`
        t.match([exitCode, json], [1, { code: 102, msg: /: ENOBUFS$/ }], `${what}: the first error`)
        const step = node.steps[number - 1]
        if (typeof step === 'object') t.equal(json?.['msg'], `${renderOperation(step)}: ENOBUFS`, `${what}: named`)
        t.equal(node.render(), before, `${what}: nothing is left`)
        const wasLeased = node.events.includes(`ipamd: allocate ${KEY}`)
        t.equal(node.ipam.released.length, wasLeased ? 1 : 0, `${what}: released once if it was leased`)
        t.equal(node.openHandles, 0, what)
      }
    },
  )
}

for (const how of ['refused', 'answer lost'] as const) {
  t.test(
    `add() leaves no interface without a lease when undoing fails too, and DEL cleans up: two steps ${how} (invariant 2)`,
    async t => {
      const problems: string[] = []
      for (let first = 1; first <= STEPS; first++) {
        // Undoing takes at most as many steps as were done, and some reads.
        for (let second = first + 1; second <= 2 * first + 5; second++) {
          const node = new FakeNode()
          const before = node.render()
          node.fault = failSteps([first, second], { errno: 'ENOBUFS', how })
          const { exitCode } = await node.run('ADD')
          const isThere = node.host.link(HOST_IF_NAME) !== undefined
          if (exitCode !== 1) problems.push(`${first}, ${second}: ADD did not fail`)
          if (isThere && !node.ipam.leases.has(KEY)) problems.push(`${first}, ${second}: an interface without a lease`)
          node.fault = () => undefined
          const deleted = await node.run('DEL')
          if (deleted.exitCode !== 0 || node.render() !== before)
            problems.push(`${first}, ${second}: DEL: ${deleted.stdout}`)
        }
      }
      t.same(problems, [])
    },
  )
}

t.test('add() keeps the lease while the interface does not go, and says so (invariant 2)', async t => {
  for (const operation of ['add-route', 'set-neighbour', 'disable-link-local'] as const) {
    const node = new FakeNode()
    const before = node.render()
    node.fault = step => {
      if (typeof step === 'string') return undefined
      if (step.do === operation) return { errno: 'ENOBUFS', how: 'refused' }
      return step.do === 'delete-link' ? { errno: 'EBUSY', how: 'refused' } : undefined
    }
    t.match((await node.run('ADD')).json, {
      code: 102,
      msg: /: ENOBUFS; not undone: .*ip link delete dev tul\w+: EBUSY$/,
    })
    t.same([[...node.ipam.leases.keys()], node.ipam.released], [[KEY], []], operation)
    node.fault = () => undefined
    t.equal((await node.run('DEL')).exitCode, 0)
    t.equal(node.render(), before, `${operation}: DEL takes the rest down`)
  }
})

for (const [how, { what: asked, run, steps }] of eachHow()) {
  const when = how === 'refused' ? 'before' : 'after'
  t.test(`add() of ${asked} killed ${when} any step is repaired by DEL, and by the next ADD (invariant 7)`, async t => {
    for (let number = 1; number <= steps; number++) {
      for (const repair of ['DEL', 'ADD'] as const) {
        const node = await nodeFor(run)
        const before = node.render()
        await runAddUntil(number, { node, how, run })
        const wasWhole = isWhole(node)
        const repaired = await node.run(repair, run)
        if (repair === 'ADD' && wasWhole) {
          // It had ended: the pod is whole, and who lost the result has to say DEL first (A1).
          t.match(repaired.json, { code: 103 })
          continue
        }
        t.equal(repaired.exitCode, 0, `step ${number}, ${repair}: ${repaired.stdout}`)
        if (repair === 'DEL') t.equal(node.render(), before, `step ${number}: nothing is left`)
        else
          t.equal(
            (await node.run('CHECK', { config: { ...run.config, prevResult: repaired.json } })).stdout,
            '',
            `step ${number}: CHECK`,
          )
      }
    }
  })
}

/** Whether the alias says that ADD ended. */
function isWhole(node: FakeNode): boolean {
  return node.host.link(HOST_IF_NAME)?.alias === 'tulle/1 eth0 c1 net1'
}

interface Killed {
  readonly node: FakeNode
  readonly run: FakeRun
  /** Whether the last step was still done. */
  readonly how: KernelFault['how']
}

/** An ADD that ends at step `number`: nothing that comes after it reaches the kernel or ipamd, so nobody undoes, and nobody releases. */
async function runAddUntil(number: number, { node, how, run }: Killed): Promise<void> {
  let step = 0
  node.fault = () => {
    if (++step < number) return undefined
    node.ipam.state = 'down'
    return { errno: 'KILLED', how: step === number ? how : 'refused' }
  }
  await node.run('ADD', run)
  if (node.ipam.released.length > 0) throw new Error('a killed ADD released its lease')
  node.fault = () => undefined
  node.ipam.state = 'up'
  node.spool.length = 0
}

t.test('add() gives the lease back, or spools it, when ipamd’s answer is lost (A8, R1)', async t => {
  const node = new FakeNode()
  node.ipam.isAnswerLost = true
  t.match((await node.run('ADD')).json, { code: 11 })
  t.same([node.ipam.leases.size, node.ipam.released], [0, [KEY]])
})

t.test('add() reports the first error also when the lease cannot be given back, which it spools (A9, R13)', async t => {
  const node = new FakeNode()
  node.fault = step => {
    if (typeof step === 'string' || step.do !== 'add-route') return undefined
    node.ipam.state = 'down'
    return { errno: 'ENOBUFS', how: 'refused' }
  }
  t.match((await node.run('ADD')).json, { code: 102, msg: /ip route add .*: ENOBUFS$/ })
  t.same(
    node.spool.map(({ entry }) => entry.attachment),
    [{ network: 'net1', containerId: 'c1', ifName: 'eth0' }],
  )
})
