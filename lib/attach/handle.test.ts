import fc from 'fast-check'
import t from 'tap'
import { CniError, ErrorCode } from '../cni/errors.ts'
import { SUPPORTED_VERSIONS } from '../cni/version.ts'
import { FakeNode } from './fake-edges.ts'
import { handle } from './handle.ts'

t.test('handle() answers STATUS with nothing while an ADD could succeed (S1)', async t => {
  const node = new FakeNode()
  const { exitCode, stdout } = await node.run('STATUS')
  t.same([exitCode, stdout, node.events], [0, '', ['ipamd: status (first pool)']])
  await node.run('STATUS', { config: { ipam: { type: 'tulle-ipam', pool: 'blue' } } })
  t.equal(node.events.at(-1), 'ipamd: status blue', 'of the pool that is configured')
})

for (const { name, state, msg } of [
  { name: 'ipamd is down (S2)', state: 'down', msg: /^ipamd at \/run\/tulle\/ipamd\.sock: ECONNREFUSED$/ },
  { name: 'the pool is empty (S3)', state: 'exhausted', msg: /^pool default: all 253 addresses are leased$/ },
] as const) {
  t.test(`handle() answers STATUS with code 50 while ${name}`, async t => {
    const node = new FakeNode()
    node.ipam.state = state
    const { exitCode, json } = await node.run('STATUS')
    t.match([exitCode, json], [1, { cniVersion: '1.1.0', code: 50, msg }])
  })
}

t.test(
  'handle() refuses verbs that the configuration’s version does not have, and answers in that version',
  async t => {
    for (const [command, cniVersion] of [
      ['CHECK', '0.3.1'],
      ['STATUS', '1.0.0'],
      ['GC', '1.0.0'],
    ] as const) {
      const { json } = await new FakeNode().run(command, { config: { cniVersion } })
      t.match(json, { code: 1, msg: `config version does not allow ${command}`, cniVersion })
    }
  },
)

for (const { name, stdin, want } of [
  { name: 'with the version of the input (V1)', stdin: '{"cniVersion":"0.4.0"}', want: '0.4.0' },
  { name: 'with one that we do not speak again too', stdin: '{"cniVersion":"9.9.9"}', want: '9.9.9' },
  { name: 'to empty input (V2)', stdin: '', want: '1.1.0' },
  { name: 'to blank input (V2)', stdin: ' \n', want: '1.1.0' },
  { name: 'to an object without a version', stdin: '{}', want: '1.1.0' },
]) {
  t.test(`handle() answers VERSION ${name}`, async t => {
    const outcome = await handle({ env: { CNI_COMMAND: 'VERSION' }, readStdin: () => stdin }, new FakeNode().edges)
    t.equal(outcome.exitCode, 0)
    t.same(JSON.parse(outcome.stdout), { cniVersion: want, supportedVersions: [...SUPPORTED_VERSIONS] })
  })
}

t.test('handle() tells a person who runs it by hand what it is, on standard error (E2)', async t => {
  const outcome = await handle({ env: {}, readStdin: () => t.fail('reads nothing') as never }, new FakeNode().edges)
  t.match(outcome, { stdout: '', exitCode: 0, stderr: /\nCNI protocol versions supported: 0\.1\.0, .*1\.1\.0\n$/ })
})

function unreadable(): never {
  throw new CniError(ErrorCode.io, 'Cannot read the configuration from standard input: it did not end in time')
}

t.test('handle() answers VERSION without its input, which may be a terminal (V2)', async t => {
  const outcome = await handle({ env: { CNI_COMMAND: 'VERSION' }, readStdin: unreadable }, new FakeNode().edges)
  t.match([outcome.exitCode, JSON.parse(outcome.stdout)], [0, { cniVersion: '1.1.0' }])
})

t.test('handle() gives an error the version of a configuration that it refuses (O3)', async t => {
  const env = { CNI_COMMAND: 'STATUS' }
  for (const [stdin, want] of [
    ['{"cniVersion":"0.4.0"}', '0.4.0'],
    ['{}', '0.1.0'],
    ['{"cniVersion":"9.9.9"}', '1.1.0'],
    ['not JSON', '1.1.0'],
  ] as const) {
    const { stdout } = await handle({ env, readStdin: () => stdin }, new FakeNode().edges)
    t.match(JSON.parse(stdout), { cniVersion: want }, stdin)
  }
})

t.test('handle() reports what standard input could not give (C8)', async t => {
  for (const command of ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS']) {
    const env = { CNI_COMMAND: command, CNI_CONTAINERID: 'c1', CNI_NETNS: '/run/netns/pod', CNI_IFNAME: 'eth0' }
    const outcome = await handle({ env, readStdin: unreadable }, new FakeNode().edges)
    t.match([outcome.exitCode, JSON.parse(outcome.stdout)], [1, { code: 5 }], command)
  }
})

t.test('handle() reports a bug as 999 with its stack, and never throws', async t => {
  const node = new FakeNode()
  const edges = {
    ...node.edges,
    openKernel: () => {
      throw new TypeError('undefined is not a function')
    },
  }
  const env = { CNI_COMMAND: 'DEL', CNI_CONTAINERID: 'c1', CNI_IFNAME: 'eth0' }
  const stdin = '{"cniVersion":"1.0.0","name":"net1","type":"tulle","ipam":{"type":"tulle-ipam"}}'
  const { stdout, exitCode } = await handle({ env, readStdin: () => stdin }, edges)
  t.match(
    [exitCode, JSON.parse(stdout)],
    [1, { cniVersion: '1.0.0', code: 999, msg: 'undefined is not a function', details: /handle\.test\.ts/ }],
  )
})

const VERBS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION', 'NONSENSE']
const text = fc.oneof(fc.constantFrom('', 'c1', 'eth0', '/run/netns/pod', 'a=b', '..', '10.0.0.1'), fc.string())
const anyEnvironment = fc
  .record({ command: fc.constantFrom(...VERBS), id: text, netns: text, ifName: text, args: text, path: text })
  .map(({ command, id, netns, ifName, args, path }) => ({
    CNI_COMMAND: command,
    CNI_CONTAINERID: id,
    CNI_NETNS: netns,
    CNI_IFNAME: ifName,
    CNI_ARGS: args,
    CNI_PATH: path,
  }))
const anyConfiguration = fc.oneof(
  fc.string(),
  fc.json(),
  fc
    .record(
      {
        cniVersion: fc.constantFrom(...SUPPORTED_VERSIONS, '2.0.0', 'x'),
        name: fc.constantFrom('net1', 'a b', ''),
        type: fc.constantFrom('tulle', '../x'),
        ipam: fc.oneof(fc.constant({ type: 'tulle-ipam' }), fc.constant({ type: 'host-local' }), fc.jsonValue()),
        prevResult: fc.jsonValue(),
        mtu: fc.jsonValue(),
        mode: fc.jsonValue(),
        ipsToRouteViaHost: fc.jsonValue(),
        runtimeConfig: fc.jsonValue(),
        'cni.dev/valid-attachments': fc.jsonValue(),
      },
      { requiredKeys: ['cniVersion', 'name', 'type', 'ipam'] },
    )
    .map(value => JSON.stringify(value)),
)

t.test(
  'handle() prints one JSON document or nothing, whatever it gets, and leaves nothing after an error (invariants 5, 8)',
  async t => {
    await fc.assert(
      fc.asyncProperty(anyEnvironment, anyConfiguration, async (env, stdin) => {
        const node = new FakeNode()
        const before = node.render()
        const { stdout, exitCode } = await handle({ env, readStdin: () => stdin }, node.edges)
        const json: unknown = stdout === '' ? undefined : JSON.parse(stdout)
        if (stdout !== '' && !/^\{[^\n]*\}\n$/.test(stdout)) throw new Error(`not one document on one line: ${stdout}`)
        if (exitCode === 0) return
        const { code, msg, cniVersion } = json as Record<string, unknown>
        if (typeof code !== 'number' || typeof msg !== 'string' || typeof cniVersion !== 'string')
          throw new Error(stdout)
        if (code === 999) throw new Error(`a bug: ${stdout}`)
        if (node.render() !== before || node.openHandles !== 0) throw new Error('something is left')
      }),
      { numRuns: 1500 },
    )
    t.pass('1500 runs')
  },
)
