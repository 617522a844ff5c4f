import t from 'tap'
import { parseAddress } from '../net/address.ts'
import { parseIfName } from '../net/if-name.ts'
import { parseMac } from '../net/mac.ts'
import { defaultPrefix } from '../net/prefix.ts'
import { isErrno } from '../plan/kernel.ts'
import type { Operation } from '../plan/operation.ts'
import { Deadline } from '../time/deadline.ts'
import { FakeKernel, type KernelStep } from './fake-kernel.ts'
import { FakeNetns } from './fake-netns.ts'
import { bridgeContract } from './bridge-contract.ts'
import { shapingContract } from './shaping-contract.ts'
import { kernelContract, type ContractSubject, type SomebodyElse } from './kernel-contract.ts'

const RTPROT_RA = 9

kernelContract('fake', openFake)
bridgeContract('fake', openFake)
shapingContract('fake', openFake)

async function openFake(): Promise<ContractSubject> {
  const host = new FakeNetns()
  const kernel = new FakeKernel({ host, pod: new FakeNetns() })
  const withoutPod = new FakeKernel({ host })
  return {
    kernel,
    withoutPod,
    somebodyElse: somebodyElseOn(host),
    dispose: async () => [kernel, withoutPod].forEach(opened => opened[Symbol.dispose]()),
  }
}

function somebodyElseOn(host: FakeNetns): SomebodyElse {
  return {
    async addVethPair(name, peer) {
      for (const [index, end] of [name, peer].entries()) {
        const mac = parseMac(`02:00:00:00:01:0${index}`)
        const link = host.addLink({ name: parseIfName(end), mac, mtuBytes: 1500, kind: 'veth' })
        if (typeof link === 'string') throw new Error(`${end}: ${link}`)
        host.disableLinkLocal(link)
        host.setUp(link)
      }
    },
    async learnDefaultRoute(name) {
      const link = host.link(parseIfName(name))
      if (link === undefined) throw new Error(`no link ${name}`)
      host.addRoute({ to: defaultPrefix(6), via: parseAddress('fe80::99'), protocol: RTPROT_RA, link })
    },
    async deleteLastRule() {
      for (const [chain, rules] of host.chains) host.chains.set(chain, rules.slice(0, -1))
    },
  }
}

const VETH: Operation = {
  do: 'add-veth',
  hostIfName: parseIfName('tulfault'),
  hostMac: parseMac('02:00:00:00:00:01'),
  podIfName: parseIfName('eth0'),
  podMac: parseMac('02:00:00:00:00:02'),
  hostMtuBytes: 1500,
  podMtuBytes: 1500,
}

for (const [how, isDone] of [
  ['refused', false],
  ['answer lost', true],
] as const) {
  t.test(`FakeKernel fails as its hook says: ${how}`, async t => {
    const steps: KernelStep[] = []
    const host = new FakeNetns()
    const fault = (step: KernelStep) => (steps.push(step) === 2 ? { errno: 'ENOBUFS', how } : undefined)
    using kernel = new FakeKernel({ host, pod: new FakeNetns(), fault })
    t.equal(kernel.readSysctl('host', 'net/ipv4/ip_forward'), '0')
    const failure: unknown = await kernel.apply(VETH, Deadline.in(1000)).catch((error: unknown) => error)
    t.ok(
      isErrno(failure, 'ENOBUFS') && failure.outcomeUnknown === isDone,
      'the errno, and whether it may have happened',
    )
    t.equal(host.link(parseIfName('tulfault')) !== undefined, isDone)
    t.same(steps, ['readSysctl', VETH])
  })
}

t.test('FakeKernel refuses to be used after it was disposed of', async t => {
  const kernel = new FakeKernel({ host: new FakeNetns() })
  kernel[Symbol.dispose]()
  t.throws(() => kernel.readSysctl('host', 'net/ipv4/ip_forward'), /disposed of/)
})
