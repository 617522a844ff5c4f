import t from 'tap'
import { parseIfName } from '../net/if-name.ts'
import { ifbNameOf } from './link-names.ts'
import { planBandwidth, shaperOf, type BandwidthInput } from './plan-bandwidth.ts'
import { renderPlan } from './render.ts'
import { undoOf } from './undo.ts'

const ATTACHMENT = { network: 'pods', containerId: 'c1', ifName: 'eth0' }
const IFB = ifbNameOf(ATTACHMENT)
const INPUT: BandwidthInput = {
  attachment: ATTACHMENT,
  hostIfName: parseIfName('tulb2d9e1a0ab3c'),
  mtuBytes: 1450,
  hostHasIpv6: true,
  bandwidth: {
    toPod: { bitsPerSecond: 10_000_000, burstBits: 800_000 },
    fromPod: { bitsPerSecond: 80_000_000 },
  },
}
const TO_POD = 'host: tc qdisc add dev tulb2d9e1a0ab3c root tbf rate 1250000bps burst 100000 limit 131250'

t.test(
  'planBandwidth() shapes to the pod at its veth, and from it at an ifb of ours that is safe before it is up',
  async t => {
    t.equal(
      renderPlan(planBandwidth(INPUT)),
      [
        TO_POD,
        `host: ip link add ${IFB} group 7632236 mtu 1450 type ifb`,
        `host: ip link set dev ${IFB} addrgenmode none`,
        `host: ip link set dev ${IFB} alias 'tulle/1 eth0 c1 pods' up`,
        `host: tc qdisc add dev ${IFB} root tbf rate 10000000bps burst 200000 limit 450000`,
        `host: tc qdisc add dev tulb2d9e1a0ab3c ingress; tc filter add dev tulb2d9e1a0ab3c parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev ${IFB}`,
      ].join('\n'),
    )
    t.equal(renderPlan(undoOf(planBandwidth(INPUT))), `host: ip link delete dev ${IFB}`)
  },
)

t.test(
  'planBandwidth() makes no ifb for a pod that may send what it likes, and sets no IPv6 where there is none',
  async t => {
    const { toPod, fromPod } = INPUT.bandwidth
    t.equal(renderPlan(planBandwidth({ ...INPUT, bandwidth: toPod ? { toPod } : {} })), TO_POD)
    const plan = planBandwidth({ ...INPUT, hostHasIpv6: false, bandwidth: fromPod ? { fromPod } : {} })
    t.notMatch(renderPlan(plan), /addrgenmode|tulb2d9e1a0ab3c root/)
  },
)

const SHAPERS = [
  { name: 'at least 64 KiB of burst', limit: { bitsPerSecond: 8 }, want: [1, 65_536, 65_537] },
  { name: '20 ms of burst at a high rate', limit: { bitsPerSecond: 1e9 }, want: [125_000_000, 2_500_000, 5_625_000] },
  {
    name: 'the burst that is asked for',
    limit: { bitsPerSecond: 1e6, burstBits: 80_000 },
    want: [125_000, 10_000, 13_125],
  },
  { name: 'room for a full frame', limit: { bitsPerSecond: 8e6, burstBits: 8 }, want: [1_000_000, 1468, 26_468] },
  {
    name: 'what fits the kernel’s 32 bits at rates that do not',
    limit: { bitsPerSecond: Number.MAX_SAFE_INTEGER },
    want: [1_125_899_906_842_623, 0xffff_ffff, 0xffff_ffff],
  },
]
for (const { name, limit, want } of SHAPERS) {
  t.test(`shaperOf() gives ${name} (R37)`, async t => {
    const { bytesPerSecond, burstBytes, limitBytes } = shaperOf(limit, 1450)
    t.strictSame([bytesPerSecond, burstBytes, limitBytes], want)
  })
}
