import t from 'tap'
import { askedMac } from './asked-mac.ts'
import { parseCniArgs } from './cni-args.ts'
import { parseNetworkConfiguration } from './configuration.ts'

function asked(changes: object, args = ''): string | undefined {
  const object = { cniVersion: '1.0.0', name: 'pods', type: 'tulle', ...changes }
  return askedMac(parseNetworkConfiguration(JSON.stringify(object)), parseCniArgs(args))
}

const BY_CAPABILITY = { runtimeConfig: { mac: '02:00:00:00:00:0A' } }
const BY_ARGS = { args: { cni: { mac: '02:00:00:00:00:0b' } } }
const BY_VARIABLE = 'IgnoreUnknown=1;MAC=02:00:00:00:00:0c'

t.test('askedMac() takes the capability, then args.cni, then CNI_ARGS (E8)', async t => {
  t.equal(asked({}), undefined)
  t.equal(asked({ ...BY_CAPABILITY, ...BY_ARGS }, BY_VARIABLE), '02:00:00:00:00:0a')
  t.equal(asked(BY_ARGS, BY_VARIABLE), '02:00:00:00:00:0b')
  t.equal(asked({}, BY_VARIABLE), '02:00:00:00:00:0c')
  t.equal(asked({ runtimeConfig: { mac: '' }, args: { cni: { mac: null } } }, 'MAC='), undefined, 'empty means none')
})

const REFUSED = [
  { name: 'zero', mac: '00:00:00:00:00:00', want: /want the address of one interface/ },
  { name: 'a multicast address', mac: '01:00:5e:00:00:01', want: /no group address/ },
  { name: 'broadcast', mac: 'ff:ff:ff:ff:ff:ff', want: /no group address/ },
  { name: 'five pairs', mac: '02:00:00:00:00', want: /Cannot parse MAC address/ },
  { name: 'dashes', mac: '02-00-00-00-00-01', want: /Cannot parse MAC address/ },
] as const

for (const { name, mac, want } of REFUSED) {
  t.test(`askedMac() refuses ${name}, and says where it stood`, async t => {
    t.throws(() => asked({ runtimeConfig: { mac } }), { code: 7, message: want })
    t.throws(() => asked({ runtimeConfig: { mac } }), { message: /runtimeConfig\.mac/ })
    t.throws(() => asked({ args: { cni: { mac } } }), { code: 7, message: /args\.cni\.mac/ })
    t.throws(() => asked({}, `MAC=${mac}`), { code: 4, message: /MAC in CNI_ARGS/ })
  })
}

t.test('askedMac() refuses what is no text', async t => {
  t.throws(() => asked({ runtimeConfig: { mac: 2 } }), {
    code: 7,
    message: /^Cannot use runtimeConfig\.mac 2: want a string/,
  })
})
