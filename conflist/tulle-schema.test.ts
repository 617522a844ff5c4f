import { Ajv } from 'ajv'
import t from 'tap'

import { parseNetworkConfiguration } from '../lib/cni/configuration.ts'
import { CniError } from '../lib/cni/errors.ts'
import { parseTulleConfiguration } from '../lib/cni/tulle-configuration.ts'
import schema from './tulle.schema.json' with { type: 'json' }

const matchesSchema = new Ajv({ allowUnionTypes: true, strictTypes: false }).compile(schema)

const ipam = { type: 'tulle-ipam' }
const ours = { type: 'tulle', ipam }

const good = [
  { name: 'only what is required', object: ours },
  {
    name: 'everything',
    object: { ...ours, mode: 'transparent', mtu: 1450, ipMasq: false, ipsToRouteViaHost: ['169.254.20.10', 'fd00::a'] },
  },
  {
    name: 'null for every optional key',
    object: { ...ours, mode: null, mtu: null, ipMasq: null, ipsToRouteViaHost: null, dns: null },
  },
  {
    name: 'everything on a bridge',
    object: {
      ...ours,
      mode: 'bridge',
      bridge: 'br0',
      isGateway: true,
      isDefaultGateway: true,
      forceAddress: true,
      hairpinMode: true,
      promiscMode: false,
      macspoofchk: true,
      portIsolation: true,
      vlan: 0,
      vlanTrunk: [],
      enabledad: false,
      disableContainerInterface: false,
    },
  },
  { name: 'a bridge without a name', object: { ...ours, mode: 'bridge', bridge: '' } },
  { name: 'keys that nobody knows', object: { ...ours, snat: true, capabilities: { dns: true } } },
  {
    name: 'masquerading with exceptions',
    object: { ...ours, ipMasq: true, nonMasqueradeCIDRs: ['10.0.0.0/8', 'fd00::/8', '::/0'], snat: false },
  },
  {
    name: 'keys of portmap that ask for nothing',
    object: { ...ours, conditionsV4: [], conditionsV6: null, markMasqBit: 0, externalSetMarkChain: '', masqAll: false },
  },
  { name: 'a socket and a pool', object: { type: 'tulle', ipam: { ...ipam, socket: '/run/x.sock', pool: 'blue' } } },
  { name: 'a socket and a pool that are null', object: { type: 'tulle', ipam: { ...ipam, socket: null, pool: null } } },
  { name: 'addresses that are kept for a day', object: { type: 'tulle', ipam: { ...ipam, stickySeconds: 86400 } } },
  { name: 'addresses that are kept for no time', object: { type: 'tulle', ipam: { ...ipam, stickySeconds: 0 } } },
  { name: 'the longest socket path', object: { type: 'tulle', ipam: { ...ipam, socket: `/${'s'.repeat(106)}` } } },
  {
    name: 'another IPAM plugin, with its own keys',
    object: { type: 'tulle', ipam: { type: 'host-local', socket: 5, pool: [] } },
  },
  { name: 'an MTU of 0, which means none', object: { ...ours, mtu: 0 } },
  { name: 'the smallest and no smaller MTU', object: { ...ours, mtu: 68 } },
  { name: 'the largest MTU', object: { ...ours, mtu: 65535 } },
  {
    name: 'resolver settings',
    object: { ...ours, dns: { nameservers: ['10.96.0.10'], domain: 'x', search: null, options: [] } },
  },
] as const

const bad = [
  { name: 'no type', object: { ipam } },
  { name: 'an empty type', object: { type: '', ipam } },
  { name: 'a path for a type (C3)', object: { type: '../tulle', ipam } },
  { name: 'no ipam', object: { type: 'tulle' } },
  { name: 'a null ipam', object: { type: 'tulle', ipam: null } },
  { name: 'an ipam without a type', object: { type: 'tulle', ipam: {} } },
  { name: 'a path for ipam.type (C3)', object: { type: 'tulle', ipam: { type: 'a/b' } } },
  { name: 'an ipam.type that is a folder', object: { type: 'tulle', ipam: { type: '..' } } },
  { name: 'an ipam that is a text', object: { type: 'tulle', ipam: 'tulle-ipam' } },
  { name: 'a mode of others', object: { ...ours, mode: 'ipvlan' } },
  { name: "a bridge with the name of a pod's link", object: { ...ours, mode: 'bridge', bridge: 'tulbr0' } },
  { name: 'a bridge with a name too long', object: { ...ours, mode: 'bridge', bridge: 'sixteencharacter' } },
  { name: 'a gateway in words', object: { ...ours, mode: 'bridge', isGateway: 'yes' } },
  { name: 'hairpinMode beside promiscMode', object: { ...ours, mode: 'bridge', hairpinMode: true, promiscMode: true } },
  { name: 'a VLAN', object: { ...ours, mode: 'bridge', vlan: 10 } },
  { name: 'a VLAN trunk', object: { ...ours, mode: 'bridge', vlanTrunk: [{ id: 10 }] } },
  { name: 'duplicate address detection', object: { ...ours, mode: 'bridge', enabledad: true } },
  { name: 'no interface in the container', object: { ...ours, mode: 'bridge', disableContainerInterface: true } },
  { name: 'a mode that is a number', object: { ...ours, mode: 1 } },
  { name: "iptables' conditions", object: { ...ours, conditionsV4: ['-d', '192.0.2.0/24'] } },
  { name: 'a bit of the mark', object: { ...ours, markMasqBit: 13 } },
  { name: "somebody's chain", object: { ...ours, externalSetMarkChain: 'KUBE-MARK-MASQ' } },
  { name: 'masquerading of what is let in', object: { ...ours, masqAll: true } },
  { name: 'snat in words', object: { ...ours, snat: 'true' } },
  { name: 'an exception without a length', object: { ...ours, nonMasqueradeCIDRs: ['10.0.0.0'] } },
  { name: 'one exception in place of a list', object: { ...ours, nonMasqueradeCIDRs: '10.0.0.0/8' } },
  {
    name: 'more exceptions than are allowed',
    object: { ...ours, nonMasqueradeCIDRs: Array.from({ length: 65 }, (_, index) => `10.${index}.0.0/16`) },
  },
  { name: 'masquerading in words', object: { ...ours, ipMasq: 'false' } },
  { name: 'too small an MTU', object: { ...ours, mtu: 67 } },
  { name: 'too large an MTU', object: { ...ours, mtu: 65536 } },
  { name: 'an MTU with a fraction', object: { ...ours, mtu: 1450.5 } },
  { name: 'an MTU in words', object: { ...ours, mtu: '1450' } },
  { name: 'one address in place of a list', object: { ...ours, ipsToRouteViaHost: '169.254.20.10' } },
  { name: 'an octal address', object: { ...ours, ipsToRouteViaHost: ['169.254.020.10'] } },
  { name: 'an address with a length', object: { ...ours, ipsToRouteViaHost: ['169.254.20.10/32'] } },
  { name: 'an IPv6 address with a length', object: { ...ours, ipsToRouteViaHost: ['fd00::1/128'] } },
  { name: 'a null among the addresses', object: { ...ours, ipsToRouteViaHost: [null] } },
  { name: 'a relative socket', object: { type: 'tulle', ipam: { ...ipam, socket: 'run/x.sock' } } },
  { name: 'an empty socket', object: { type: 'tulle', ipam: { ...ipam, socket: '' } } },
  { name: 'a socket with NUL in it', object: { type: 'tulle', ipam: { ...ipam, socket: '/run/\0x' } } },
  {
    name: 'a socket path that is too long',
    object: { type: 'tulle', ipam: { ...ipam, socket: `/${'s'.repeat(107)}` } },
  },
  { name: 'an empty pool', object: { type: 'tulle', ipam: { ...ipam, pool: '' } } },
  { name: 'addresses that are kept for too long', object: { ...ours, ipam: { ...ipam, stickySeconds: 2_592_001 } } },
  { name: 'a time in words', object: { ...ours, ipam: { ...ipam, stickySeconds: '1h' } } },
  { name: 'a pool that is a number', object: { type: 'tulle', ipam: { ...ipam, pool: 3 } } },
  { name: 'resolver settings that are a list', object: { ...ours, dns: [] } },
  { name: 'a name server that is a number', object: { ...ours, dns: { nameservers: [10] } } },
] as const

for (const c of good) {
  t.test(`the schema and the plugin accept ${c.name}`, async t => {
    t.ok(matchesSchema(c.object), JSON.stringify(matchesSchema.errors))
    t.equal(refusalOf(c.object), undefined)
  })
}

for (const c of bad) {
  t.test(`the schema and the plugin refuse ${c.name}`, async t => {
    t.notOk(matchesSchema(c.object))
    t.match(refusalOf(c.object), /^(2|7) /)
  })
}

/** Code and message with which the plugin refuses a configuration, or undefined when it takes it. */
function refusalOf(object: object): string | undefined {
  try {
    parseTulleConfiguration(parseNetworkConfiguration(JSON.stringify({ cniVersion: '1.0.0', name: 'net', ...object })))
    return undefined
  } catch (error) {
    if (error instanceof CniError) return `${error.code} ${error.message}`
    throw error
  }
}
