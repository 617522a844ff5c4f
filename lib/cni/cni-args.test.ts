import fc from 'fast-check'
import t from 'tap'

import { parseCniArgs } from './cni-args.ts'
import { CniError } from './errors.ts'

const CONTAINERD =
  'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=abc;K8S_POD_UID=u-1'

t.test('parseCniArgs() reads what containerd sends, in any order (E7)', async t => {
  const want = { pod: { namespace: 'shop', name: 'web-0', uid: 'u-1' }, infraContainerId: 'abc' }
  t.same(parseCniArgs(CONTAINERD), want)
  t.same(parseCniArgs(CONTAINERD.split(';').toReversed().join(';')), want)
})

const accepted = [
  { name: 'nothing', text: '', want: {} },
  { name: 'a missing variable', text: undefined, want: {} },
  { name: 'a requested address', text: 'IP=10.1.2.3', want: { ip: '10.1.2.3' } },
  { name: 'an empty value as missing', text: 'IP=;K8S_POD_NAME=a;K8S_POD_NAMESPACE=', want: {} },
  { name: 'half a pod as no pod', text: 'K8S_POD_NAME=web-0', want: {} },
  {
    name: 'a pod without a UID',
    text: 'K8S_POD_NAME=a;K8S_POD_NAMESPACE=b',
    want: { pod: { namespace: 'b', name: 'a' } },
  },
  { name: 'unknown keys with IgnoreUnknown=1 after them', text: 'FOO=1;IgnoreUnknown=1', want: {} },
  { name: 'unknown keys with IgnoreUnknown=true', text: 'IgnoreUnknown=true;FOO=1', want: {} },
  { name: 'unknown keys with IgnoreUnknown=TRUE', text: 'IgnoreUnknown=TRUE;__proto__=1', want: {} },
  { name: 'the last of two values', text: 'IP=10.0.0.1;IP=10.0.0.2', want: { ip: '10.0.0.2' } },
] as const

for (const c of accepted) {
  t.test(`parseCniArgs() accepts ${c.name} (E7)`, async t => t.same(parseCniArgs(c.text), c.want))
}

const refused = [
  { name: 'two "="', text: 'a=b=c', want: /pair "a=b=c": want KEY=VALUE/ },
  { name: 'two "=" even with IgnoreUnknown', text: 'IgnoreUnknown=1;a=b=c', want: /pair "a=b=c"/ },
  { name: 'no "="', text: 'IP', want: /pair "IP": want KEY=VALUE/ },
  { name: 'an empty pair', text: 'IP=10.0.0.1;', want: /pair "": want KEY=VALUE/ },
  {
    name: 'an unknown key',
    text: 'FOO=1;IP=10.0.0.1;BAR=2',
    want: /"FOO=1;BAR=2": unknown keys; want IgnoreUnknown=1/,
  },
  { name: 'an unknown key with IgnoreUnknown=0', text: 'IgnoreUnknown=0;FOO=1', want: /unknown keys/ },
  { name: 'a key in another case', text: 'ip=10.0.0.1', want: /unknown keys/ },
  {
    name: 'an IgnoreUnknown that is neither',
    text: 'IgnoreUnknown=yes',
    want: /IgnoreUnknown "yes": want 1, true, 0 or false/,
  },
] as const

for (const c of refused) {
  t.test(`parseCniArgs() refuses ${c.name} with code 4 (E7)`, async t => {
    t.throws(() => parseCniArgs(c.text), { name: 'CniError', code: 4, message: c.want })
  })
}

t.test('parseCniArgs() reads what it can for DEL, and refuses nothing (D6)', async t => {
  const text = 'a=b=c;FOO=1;IgnoreUnknown=maybe;K8S_POD_NAME=web-0;;K8S_POD_NAMESPACE=shop'
  t.same(parseCniArgs(text, { lenient: true }), { pod: { namespace: 'shop', name: 'web-0' } })
})

t.test('parseCniArgs() throws nothing but CniError, and nothing at all when lenient', async t => {
  const args = fc.string({ unit: fc.constantFrom('IP', 'IgnoreUnknown', '=', ';', '1', 'x', '__proto__') })
  fc.assert(
    fc.property(args, text => {
      parseCniArgs(text, { lenient: true })
      try {
        parseCniArgs(text)
        return true
      } catch (error) {
        return error instanceof CniError && error.code === 4
      }
    }),
  )
  t.pass()
})
