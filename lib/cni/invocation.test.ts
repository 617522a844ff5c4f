import fc from 'fast-check'
import t from 'tap'

import { CniError } from './errors.ts'
import { parseInvocation } from './invocation.ts'

const NETNS = '/run/netns/pod'
const ADD = {
  CNI_COMMAND: 'ADD',
  CNI_CONTAINERID: 'c1',
  CNI_NETNS: NETNS,
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/opt/cni/bin',
}
const DEL = { ...ADD, CNI_COMMAND: 'DEL' }

for (const command of ['ADD', 'CHECK'] as const) {
  t.test(`parseInvocation() reads ${command} (E1)`, async t => {
    t.same(parseInvocation({ ...ADD, CNI_COMMAND: command, CNI_ARGS: 'IP=10.0.0.1', HOME: '/root' }), {
      command,
      containerId: 'c1',
      ifName: 'eth0',
      cniPath: ['/opt/cni/bin'],
      args: { ip: '10.0.0.1' },
      netnsOverride: false,
      netnsPath: NETNS,
    })
  })
}

t.test('parseInvocation() reads VERSION, GC and STATUS with nothing else set (E1, E3)', async t => {
  t.same(parseInvocation({ CNI_COMMAND: 'VERSION' }), { command: 'VERSION' })
  t.same(parseInvocation({ CNI_COMMAND: 'GC' }), { command: 'GC', cniPath: [] })
  t.same(parseInvocation({ CNI_COMMAND: 'STATUS', CNI_PATH: '/a:/b' }), {
    command: 'STATUS',
    cniPath: ['/a', '/b'],
  })
})

for (const command of ['add', 'UPDATE', ' ADD', '__proto__']) {
  t.test(`parseInvocation() refuses the command ${JSON.stringify(command)} with code 4 (E1)`, async t => {
    const shown = /^\w+$/.test(command) ? command : JSON.stringify(command)
    t.throws(() => parseInvocation({ ...ADD, CNI_COMMAND: command }), {
      code: 4,
      message: `unknown CNI_COMMAND: ${shown}`,
    })
  })
}

t.test('parseInvocation() takes a run without a command for a person asking (E2)', async t => {
  t.same(parseInvocation({}), { command: 'about' })
  t.same(parseInvocation({ ...ADD, CNI_COMMAND: '' }), { command: 'about' })
})

const missing = [
  { env: { CNI_COMMAND: 'ADD' }, want: 'CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME' },
  { env: { CNI_COMMAND: 'CHECK', CNI_NETNS: NETNS }, want: 'CNI_CONTAINERID,CNI_IFNAME' },
  { env: { ...ADD, CNI_NETNS: '' }, want: 'CNI_NETNS' },
  { env: { CNI_COMMAND: 'DEL' }, want: 'CNI_CONTAINERID,CNI_IFNAME' },
  { env: { ...DEL, CNI_IFNAME: '' }, want: 'CNI_IFNAME' },
] as const

for (const c of missing) {
  t.test(`parseInvocation() names ${c.want} of ${c.env.CNI_COMMAND} at once (E3)`, async t => {
    t.throws(() => parseInvocation(c.env), { code: 4, message: `required env variables [${c.want}] missing` })
  })
}

t.test('parseInvocation() does without CNI_PATH, and leaves out empty elements (E3)', async t => {
  t.same(parseInvocation({ ...ADD, CNI_PATH: undefined }), { ...parseInvocation(ADD), cniPath: [] })
  t.same(parseInvocation({ ...ADD, CNI_PATH: ':/a::/b:' }), { ...parseInvocation(ADD), cniPath: ['/a', '/b'] })
})

for (const text of ['a', '0', 'cnitool-77383ca0a0715733ca6f', 'A_b.c-d', 'x'.repeat(128)]) {
  t.test(`parseInvocation() accepts the container ID ${text} (E4)`, async t => {
    t.match(parseInvocation({ ...ADD, CNI_CONTAINERID: text }), { containerId: text })
  })
}

for (const text of ['-a', '.', '_a', 'a/b', 'a b', 'a\n', 'é', 'a:b', '../../etc']) {
  t.test(`parseInvocation() refuses the container ID ${JSON.stringify(text)} with code 4 (E4)`, async t => {
    for (const env of [ADD, DEL]) {
      t.throws(() => parseInvocation({ ...env, CNI_CONTAINERID: text }), {
        code: 4,
        message: 'invalid characters in containerID',
        details: `CNI_CONTAINERID is ${JSON.stringify(text)}; want letters, digits, "_", "." and "-", a letter or digit first`,
      })
    }
  })
}

t.test('parseInvocation() names the bound of a container ID', async t => {
  t.throws(() => parseInvocation({ ...ADD, CNI_CONTAINERID: 'x'.repeat(129) }), {
    code: 4,
    message: /want at most 128 bytes/,
  })
})

for (const text of ['abcdefghijklmnop', '..', 'eth/0', 'eth:0', 'eth 0', 'éééééééé']) {
  t.test(`parseInvocation() refuses the interface name ${JSON.stringify(text)} with code 4 (E5)`, async t => {
    t.throws(() => parseInvocation({ ...ADD, CNI_IFNAME: text }), {
      code: 4,
      message: /^CNI_IFNAME: Cannot use interface name ".*": want /,
    })
  })
}

t.test('parseInvocation() refuses bad CNI_ARGS with code 4, but not in DEL (E7, D6)', async t => {
  for (const args of ['a=b=c', 'FOO=1']) {
    t.throws(() => parseInvocation({ ...ADD, CNI_ARGS: args }), { code: 4, message: /CNI_ARGS/ })
    t.match(parseInvocation({ ...DEL, CNI_ARGS: args }), { command: 'DEL', args: {} })
  }
})

for (const [text, want] of [
  ['1', true],
  ['TRUE', true],
  ['true', true],
  ['0', false],
  ['', false],
  ['yes', false],
] as const) {
  t.test(`parseInvocation() takes CNI_NETNS_OVERRIDE=${text} for ${want} (E9)`, async t => {
    t.match(parseInvocation({ ...ADD, CNI_NETNS_OVERRIDE: text }), { netnsOverride: want })
  })
}

for (const path of ['netns/pod', './pod', '/run/\0x', `/${'x'.repeat(4095)}`]) {
  const shown = JSON.stringify(path.slice(0, 12))
  t.test(`parseInvocation() refuses the namespace ${shown} in ADD, and does without it in DEL (E10)`, async t => {
    t.throws(() => parseInvocation({ ...ADD, CNI_NETNS: path }), {
      code: 4,
      message: /^Cannot use CNI_NETNS .*: want an absolute path/,
    })
    t.equal(netnsPathOf(parseInvocation({ ...DEL, CNI_NETNS: path })), undefined)
  })
}

t.test('parseInvocation() reads DEL with and without a namespace (E10)', async t => {
  t.equal(netnsPathOf(parseInvocation(DEL)), NETNS)
  t.equal(netnsPathOf(parseInvocation({ ...DEL, CNI_NETNS: '' })), undefined)
  t.equal(netnsPathOf(parseInvocation({ ...DEL, CNI_NETNS: undefined })), undefined)
})

t.test('parseInvocation() tolerates trace context, whatever it says (E11)', async t => {
  const env = { ...ADD, TRACEPARENT: 'x\r\ny', TRACESTATE: 'a=1', BAGGAGE: 'b'.repeat(100_000) }
  t.same(parseInvocation(env), parseInvocation(ADD))
})

t.test('parseInvocation() throws nothing but CniError with code 4', async t => {
  const command = fc.constantFrom('ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION')
  const env = fc.record({
    CNI_COMMAND: fc.oneof(command, fc.string()),
    CNI_CONTAINERID: fc.string({ unit: 'binary' }),
    CNI_NETNS: fc.oneof(fc.string({ unit: 'binary' }), fc.constant(NETNS)),
    CNI_IFNAME: fc.oneof(fc.string({ unit: 'binary', maxLength: 16 }), fc.constant('eth0')),
    CNI_ARGS: fc.string(),
    CNI_PATH: fc.string(),
    TRACEPARENT: fc.string({ unit: 'binary' }),
  })
  fc.assert(
    fc.property(env, variables => {
      try {
        parseInvocation(variables)
        return true
      } catch (error) {
        return error instanceof CniError && error.code === 4
      }
    }),
  )
  t.pass()
})

function netnsPathOf(invocation: ReturnType<typeof parseInvocation>): string | undefined {
  return invocation.command === 'DEL' ? invocation.netnsPath : 'not a DEL'
}
