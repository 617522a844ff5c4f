import t from 'tap'
import { parseBandwidth } from './bandwidth.ts'
import { parseNetworkConfiguration } from './configuration.ts'
import { CniError } from './errors.ts'

function parse(config: object) {
  const text = { cniVersion: '1.1.0', name: 'net1', type: 'tulle', ...config }
  return parseBandwidth(parseNetworkConfiguration(JSON.stringify(text)))
}
const asked = (bandwidth: unknown) => ({ runtimeConfig: { bandwidth } })

const ACCEPTED = [
  { name: 'nothing', config: {}, want: undefined },
  { name: 'an empty capability', config: asked({}), want: undefined },
  {
    name: 'rates of 0, with bursts',
    config: asked({ ingressRate: 0, ingressBurst: 9, egressRate: 0 }),
    want: undefined,
  },
  {
    name: 'the capability',
    config: asked({ ingressRate: 8, ingressBurst: 9 }),
    want: { toPod: { bitsPerSecond: 8, burstBits: 9 } },
  },
  {
    name: 'the configuration',
    config: { egressRate: 1e9, egressBurst: 1 },
    want: { fromPod: { bitsPerSecond: 1e9, burstBits: 1 } },
  },
  {
    name: 'a burst of 0, which is none',
    config: asked({ egressRate: 8, egressBurst: 0 }),
    want: { fromPod: { bitsPerSecond: 8 } },
  },
  {
    name: 'MaxInt32 as burst (R37)',
    config: asked({ egressRate: 8, egressBurst: 2147483647 }),
    want: { fromPod: { bitsPerSecond: 8 } },
  },
  {
    name: 'MaxUint32 as burst (R37)',
    config: asked({ ingressRate: 8, ingressBurst: 4294967295 }),
    want: { toPod: { bitsPerSecond: 8 } },
  },
  {
    name: 'MaxUint64 as burst (R37)',
    config: asked({ ingressRate: 8, ingressBurst: 18446744073709551615n }),
    want: { toPod: { bitsPerSecond: 8 } },
  },
  {
    name: 'the runtime before the configuration, as a whole (E8)',
    config: { ingressRate: 100, egressRate: 100, ...asked({ ingressRate: 16 }) },
    want: { toPod: { bitsPerSecond: 16 } },
  },
  {
    name: 'no limits of the runtime before those of the configuration (E8)',
    config: { ingressRate: 100, ...asked({}) },
    want: undefined,
  },
  {
    name: 'an empty list of shaped subnets',
    config: { ingressRate: 8, shapedSubnets: [] },
    want: { toPod: { bitsPerSecond: 8 } },
  },
]
for (const { name, config, want } of ACCEPTED) {
  t.test(`parseBandwidth() takes ${name}`, async t => t.same(parseWithBigints(config), want))
}

/** JSON has numbers of any size, JavaScript's literals have not. */
function parseWithBigints(config: object) {
  const text = JSON.stringify(
    { cniVersion: '1.1.0', name: 'net1', type: 'tulle', ...config },
    (_key, value: unknown) => (typeof value === 'bigint' ? `bigint:${value}` : value),
  )
  return parseBandwidth(parseNetworkConfiguration(text.replace(/"bigint:(\d+)"/g, '$1')))
}

const REFUSED = [
  {
    config: asked({ ingressRate: 7 }),
    code: 7,
    msg: 'Cannot use runtimeConfig.bandwidth.ingressRate 7: want an integer from 8 to',
  },
  {
    config: asked({ egressRate: -8 }),
    code: 7,
    msg: 'Cannot use runtimeConfig.bandwidth.egressRate -8: want an integer from 8 to',
  },
  {
    config: asked({ egressRate: '10M' }),
    code: 7,
    msg: 'Cannot use runtimeConfig.bandwidth.egressRate "10M": want an integer',
  },
  {
    config: asked({ ingressRate: 8, ingressBurst: 1.5 }),
    code: 7,
    msg: 'Cannot use runtimeConfig.bandwidth.ingressBurst 1.5: want',
  },
  { config: asked({ ingressBurst: -1 }), code: 7, msg: 'Cannot use runtimeConfig.bandwidth.ingressBurst -1: want' },
  { config: asked([1]), code: 7, msg: 'Cannot use runtimeConfig.bandwidth [1]: want an object' },
  { config: { ingressRate: 1 }, code: 7, msg: 'Cannot use ingressRate 1: want an integer from 8 to' },
  { config: { egressBurst: 'x' }, code: 7, msg: 'Cannot use egressBurst "x": want' },
  {
    config: { unshapedSubnets: ['10.0.0.0/8'] },
    code: 2,
    msg: 'unshapedSubnets ["10.0.0.0/8"] is not supported by this version',
  },
  {
    config: asked({ shapedSubnets: ['10.0.0.0/8'] }),
    code: 2,
    msg: 'runtimeConfig.bandwidth.shapedSubnets ["10.0.0.0/8"] is not',
  },
]
for (const { config, code, msg } of REFUSED) {
  t.test(`parseBandwidth() refuses with path, value and what is wanted: ${msg}`, async t => {
    try {
      parse(config)
      t.fail('it is accepted')
    } catch (failure) {
      if (!(failure instanceof CniError)) throw failure
      t.equal(failure.code, code)
      t.ok(failure.message.startsWith(msg), failure.message)
    }
  })
}
