// Many pods at once: every one gets addresses of its own, and nothing is left of them.
import t from 'tap'
import { serverPod } from './harness/pods.ts'
import { setUp } from './harness/setting.ts'

const MANY = 100
/** In kind, and on a machine with other work too. */
const ALL_READY_MS = 600_000

const { kubernetes } = await setUp()

t.test(
  `${MANY} pods started at once are all Ready, with addresses that nobody shares, and go without a trace`,
  async t => {
    const names = Array.from({ length: MANY }, (_, index) => `pod-${index}`)
    const startedAtMs = performance.now()
    await Promise.all(names.map(async name => kubernetes.createPod(serverPod({ name, args: ['pause'] }))))
    const pods = await kubernetes.readyPods(names, ALL_READY_MS)
    t.comment(`${MANY} pods Ready after ${((performance.now() - startedAtMs) / 1000).toFixed(1)} s`)
    const addresses = pods.flatMap(pod => pod.addresses)
    t.equal(addresses.length, 2 * MANY, 'one address of each family for each pod')
    t.equal(new Set(addresses).size, addresses.length, 'invariant 1: no two pods share one')
    const deletedAtMs = performance.now()
    await kubernetes.deletePods(names)
    t.comment(`and gone after ${((performance.now() - deletedAtMs) / 1000).toFixed(1)} s`)
  },
)
