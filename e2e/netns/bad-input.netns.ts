import './harness/isolated.ts'
import { execFileSync } from 'node:child_process'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { type DirectCall, callDirectly } from './harness/direct-call.ts'
import type { PluginOutcome } from './harness/invoke.ts'
import { asObjects } from './harness/json.ts'
import { Netns } from './harness/namespace.ts'
import { newAttachment } from './harness/runtime.ts'
import { TulleNode, leavesNothing } from './harness/tulle-node.ts'
import { BIN_FOLDER } from './harness/tulle.ts'

// Bad input gets an error with the right code and a message that names the field and what it wants; nothing is changed
// (invariant 8). Checklist E1-E11, C1-C10, O1-O6.

const folder = await mkdtempDisposable(join(tmpdir(), 'tulle-bad-input-'))
t.teardown(() => folder.remove())
const node = await TulleNode.start()
t.teardown(() => node[Symbol.asyncDispose]())
const pod = await Netns.create('pod')
t.teardown(() => pod.delete())
const untouched = await node.snapshot()

const regularFile = await fileIn('regular', 'no namespace')
const fifo = join(folder.path, 'fifo')
execFileSync('mkfifo', [fifo])

interface Refusal extends DirectCall {
  readonly name: string
  /** ADD when absent. */
  readonly command?: string
  readonly code: number
  readonly msg: string | RegExp
}

const ENVIRONMENT: readonly Refusal[] = [
  { name: 'E1 an unknown command', command: 'FROB', code: 4, msg: 'unknown CNI_COMMAND: FROB' },
  { name: 'E1 a command in lower case', command: 'add', code: 4, msg: 'unknown CNI_COMMAND: add' },
  ...['ADD', 'CHECK'].map(command => ({
    name: `E3 ${command} without anything: all names at once`,
    command,
    env: { CNI_CONTAINERID: undefined, CNI_NETNS: '', CNI_IFNAME: undefined, CNI_PATH: undefined },
    code: 4,
    msg: 'required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing',
  })),
  {
    name: 'E3 DEL without container and interface',
    command: 'DEL',
    env: { CNI_CONTAINERID: '', CNI_IFNAME: '' },
    code: 4,
    msg: 'required env variables [CNI_CONTAINERID,CNI_IFNAME] missing',
  },
  ...['-rf', '../../etc', 'a b', 'é', 'x\n'].map(containerId => ({
    name: `E4 container ID ${JSON.stringify(containerId)}`,
    env: { CNI_CONTAINERID: containerId },
    code: 4,
    msg: 'invalid characters in containerID',
  })),
  { name: 'E4 a container ID that is too long', env: { CNI_CONTAINERID: 'a'.repeat(500) }, code: 4, msg: /128 bytes/ },
  ...['.', '..', 'a/b', 'a:b', 'a b', 'x'.repeat(16), 'é'.repeat(8), 'lo%d', 'all'].map(ifName => ({
    name: `E5 interface name ${JSON.stringify(ifName)}`,
    env: { CNI_IFNAME: ifName },
    code: 4,
    msg: /^CNI_IFNAME: Cannot use interface name/,
  })),
  { name: 'E7 a pair with two "="', env: { CNI_ARGS: 'a=b=c' }, code: 4, msg: /CNI_ARGS pair "a=b=c": want KEY=VALUE/ },
  { name: 'E7 an unknown key', env: { CNI_ARGS: 'FOO=1' }, code: 4, msg: /CNI_ARGS "FOO=1": unknown keys/ },
  {
    name: 'E8 a request by CNI_ARGS for an address that is none',
    env: { CNI_ARGS: 'IP=10.244.0' },
    code: 7,
    msg: /^IP in CNI_ARGS: Cannot parse address "10\.244\.0"/,
  },
  {
    name: 'E9 the namespace of the plugin',
    env: { CNI_NETNS: '/proc/self/ns/net' },
    code: 8,
    msg: /is the namespace of the plugin itself/,
  },
  {
    name: 'CNI_NETNS that is relative',
    env: { CNI_NETNS: 'netns/pod' },
    code: 4,
    msg: /CNI_NETNS "netns\/pod": want an absolute path/,
  },
  {
    name: 'CNI_NETNS that is missing',
    env: { CNI_NETNS: '/run/netns/none' },
    code: 8,
    msg: /^network namespace \/run\/netns\/none: /,
  },
  {
    name: 'CNI_NETNS that is a regular file',
    env: { CNI_NETNS: regularFile },
    code: 8,
    msg: /^network namespace .*regular: /,
  },
  { name: 'CNI_NETNS that is a FIFO', env: { CNI_NETNS: fifo }, code: 8, msg: /^network namespace .*fifo: / },
  { name: 'CNI_NETNS that is a folder', env: { CNI_NETNS: '/run' }, code: 8, msg: /^network namespace \/run: / },
  {
    name: 'CNI_NETNS that is a terminal',
    env: { CNI_NETNS: '/dev/null' },
    code: 8,
    msg: /^network namespace \/dev\/null: /,
  },
  {
    name: 'CNI_NETNS that is a mount namespace',
    env: { CNI_NETNS: '/proc/self/ns/mnt' },
    code: 8,
    msg: /^network namespace \/proc\/self\/ns\/mnt: /,
  },
]

const CONFIGURATION: readonly Refusal[] = [
  ...['', '{', 'null', '[]', '"text"', '{"name": "pods"} {}', '\uFEFF{}'].map(stdin => ({
    name: `C1 ${JSON.stringify(stdin)} on stdin`,
    stdin,
    code: 6,
    msg: /standard input/,
  })),
  {
    name: 'C1 JSON that is nested too deeply',
    stdin: `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`,
    code: 6,
    msg: /levels of nesting/,
  },
  {
    name: 'C1 stdin that is not UTF-8',
    executable: await plugin(
      'not-utf8',
      await fileIn('not-utf8.json', Buffer.from([...Buffer.from('{"name":"pods","x":"'), 0xc3, 0x28, 0x22, 0x7d])),
    ),
    code: 6,
    msg: /UTF-8/,
  },
  {
    name: 'C3 a type with a path separator',
    configuration: { type: '../tulle' },
    code: 7,
    msg: /^Cannot use type "\.\.\/tulle"/,
  },
  {
    name: 'C3 an ipam.type with a path separator',
    configuration: { ipam: { type: '../../bin/sh' } },
    code: 7,
    msg: /^Cannot use ipam\.type/,
  },
  {
    name: 'C6 a mode of a later version',
    configuration: { mode: 'overlay' },
    code: 2,
    msg: /^mode "overlay" is not supported/,
  },
  { name: 'C6 a key of portmap', configuration: { markMasqBit: 13 }, code: 2, msg: /^markMasqBit 13 is not supported/ },
  {
    name: 'C6 a capability of a later version',
    configuration: { runtimeConfig: { aliases: ['www'] } },
    code: 2,
    msg: /^runtimeConfig\.aliases \["www/,
  },
  {
    name: 'C7 a host port of 0',
    configuration: { runtimeConfig: { portMappings: [{ hostPort: 0, containerPort: 80, protocol: 'tcp' }] } },
    code: 7,
    msg: /^Cannot use runtimeConfig\.portMappings\[0\]\.hostPort 0: want/,
  },
  {
    name: 'C7 two addresses of one family asked for by args',
    configuration: { args: { cni: { ips: ['10.244.0.9', '10.244.0.10'] } } },
    code: 7,
    msg: /^Cannot use args\.cni\.ips "10\.244\.0\.9, 10\.244\.0\.10": want at most one address of each family/,
  },
  {
    name: 'C7 an annotation that is no time',
    configuration: { runtimeConfig: { 'io.kubernetes.cri.pod-annotations': { 'tulle.dev/sticky': 'for ever' } } },
    code: 7,
    msg: /^Cannot use pod annotation tulle\.dev\/sticky "for ever": want a time such as/,
  },
  {
    name: 'C7 mtu that is text',
    configuration: { mtu: '1450' },
    code: 7,
    msg: /^Cannot use mtu "1450": want an integer from 68 to 65535/,
  },
  {
    name: 'C7 mtu that is too small for IPv6',
    configuration: { mtu: 1200 },
    code: 7,
    msg: /^mtu 1200 is too small for IPv6: want at least 1280/,
  },
  { name: 'C7 no ipam', configuration: { ipam: undefined }, code: 7, msg: /^ipam is missing: want an object/ },
  {
    name: 'C7 an address that is none',
    configuration: { ipsToRouteViaHost: ['169.254.20'] },
    code: 7,
    msg: /^ipsToRouteViaHost\[0\]: /,
  },
  {
    name: 'C7 a socket path that is relative',
    configuration: { ipam: { type: 'tulle-ipam', socket: 'ipamd.sock' } },
    code: 7,
    msg: /^Cannot use ipam\.socket/,
  },
  {
    name: 'C7 a pool that ipamd has not',
    configuration: { ipam: { type: 'tulle-ipam', pool: 'other' } },
    code: 7,
    msg: /other/,
  },
  {
    name: 'C7 an IPAM plugin that is nowhere',
    configuration: { ipam: { type: 'absent' } },
    code: 7,
    msg: /IPAM plugin absent is in none of the folders/,
  },
  { name: 'C8 stdin that cannot be read', executable: await plugin('folder', '/'), code: 5, msg: /EISDIR/ },
  {
    name: 'C8 2 MB on stdin',
    stdin: JSON.stringify({ cniVersion: '1.1.0', name: 'pods', padding: 'x'.repeat(2_000_000) }),
    code: 5,
    msg: /more than 1048576 bytes/,
  },
  { name: 'E6 no name', configuration: { name: undefined }, code: 7, msg: 'missing network name' },
  {
    name: 'E6 a name with a path separator',
    configuration: { name: '../x' },
    code: 7,
    msg: 'invalid characters found in network name',
  },
  {
    name: 'cniVersion with four parts',
    configuration: { cniVersion: '1.0.0.0' },
    code: 6,
    msg: /cniVersion "1\.0\.0\.0": want MAJOR\.MINOR\.PATCH/,
  },
  {
    name: 'cniVersion of the future',
    configuration: { cniVersion: '9.9.9' },
    code: 1,
    msg: 'incompatible CNI versions',
  },
  { name: 'K1 CHECK without prevResult', command: 'CHECK', code: 7, msg: /^prevResult missing/ },
  {
    name: 'a prevResult that is none',
    configuration: { prevResult: { ips: 'none' } },
    code: 6,
    msg: /^Cannot use prevResult\.ips "none"/,
  },
  {
    name: 'CHECK before it existed',
    command: 'CHECK',
    configuration: { cniVersion: '0.3.1' },
    code: 1,
    msg: 'config version does not allow CHECK',
  },
  ...['GC', 'STATUS'].map(command => ({
    name: `${command} before it existed`,
    command,
    configuration: { cniVersion: '1.0.0' },
    code: 1,
    msg: `config version does not allow ${command}`,
  })),
  {
    name: 'GC with a list that is none',
    command: 'GC',
    configuration: { 'cni.dev/valid-attachments': {} },
    code: 7,
    msg: /valid-attachments/,
  },
]

for (const refusal of [...ENVIRONMENT, ...CONFIGURATION]) {
  t.test(`tulle refuses ${refusal.name}`, async t => {
    const outcome = await callDirectly(refusal.command ?? 'ADD', newAttachment(pod), refusal)
    t.equal(outcome.exitCode, 1, 'O1')
    // That stdout is one document is asserted by every call (O2, O3).
    const { code, msg, cniVersion } = outcome.json ?? {}
    t.equal(code, refusal.code, outcome.stdout)
    if (typeof refusal.msg === 'string') t.equal(msg, refusal.msg)
    else t.match(msg, refusal.msg)
    t.match(cniVersion, /^\d+\.\d+\.\d+$/)
    t.equal(await node.snapshot(), untouched)
  })
}

interface Tolerance extends DirectCall {
  readonly name: string
}

const TOLERATED: readonly Tolerance[] = [
  { name: 'E3 no CNI_PATH, when nothing is delegated', env: { CNI_PATH: undefined } },
  {
    name: 'E7 unknown keys beside IgnoreUnknown',
    env: { CNI_ARGS: 'FOO=1;K8S_POD_NAME=p;IgnoreUnknown=1;K8S_POD_NAMESPACE=n' },
  },
  {
    name: 'E11 trace context, however bad',
    env: { TRACEPARENT: '00-bad', TRACESTATE: 'a\u0001b', BAGGAGE: 'x'.repeat(20_000) },
  },
  { name: 'C2 and C4 keys that nobody knows', configuration: { frob: { a: [1] }, 'cni.dev/frob': 1, __proto__: null } },
  { name: 'C5 capabilities that the runtime left in', configuration: { capabilities: { portMappings: true } } },
  {
    name: 'C9 a prevResult with "CNIVersion"',
    configuration: { prevResult: { CNIVersion: '1.1.0', interfaces: [], ips: [] } },
  },
  {
    name: 'C10 null for every optional key',
    configuration: {
      mode: null,
      mtu: null,
      ipMasq: null,
      ipsToRouteViaHost: null,
      dns: null,
      args: null,
      runtimeConfig: null,
      prevResult: null,
    },
  },
  { name: 'NODE_OPTIONS of the caller', env: { NODE_OPTIONS: '--require /nonexistent' } },
]

for (const tolerance of TOLERATED) {
  t.test(`tulle tolerates ${tolerance.name}`, async t => {
    await leavesNothing(t, node, async () => {
      const attachment = newAttachment(pod)
      const added = await callDirectly('ADD', attachment, tolerance)
      t.equal(added.exitCode, 0, added.stdout)
      t.equal(asObjects(added.json?.['ips'], 'ips').length, 2)
      assertSilent(t, await callDirectly('DEL', attachment, tolerance))
    })
  })
}

t.test('tulle without CNI_COMMAND says what it is, on stderr (E2)', async t => {
  const outcome = await callDirectly('', newAttachment(pod), { env: { CNI_COMMAND: undefined } })
  t.equal(outcome.exitCode, 0)
  t.equal(outcome.stdout, '')
  t.match(outcome.stderr, /CNI protocol versions supported: 0\.1\.0, .*1\.1\.0\n$/)
})

t.test('tulle answers VERSION with the version asked for, and to an empty stdin (V1, V2)', async t => {
  const supportedVersions = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0']
  const asked = await callDirectly('VERSION', newAttachment(pod), { configuration: { cniVersion: '0.4.0' } })
  t.same(asked.json, { cniVersion: '0.4.0', supportedVersions })
  const empty = await callDirectly('VERSION', newAttachment(pod), { stdin: '' })
  t.same(empty.json, { cniVersion: '1.1.0', supportedVersions })
})

t.test('DEL, CHECK, GC and STATUS say nothing when they succeed (O6); DEL needs no namespace (E10)', async t => {
  await leavesNothing(t, node, async () => {
    const attachment = newAttachment(pod)
    const added = await callDirectly('ADD', attachment)
    t.equal(added.exitCode, 0, added.stdout)
    assertSilent(t, await callDirectly('CHECK', attachment, { configuration: { prevResult: added.json } }))
    const valid = [{ containerID: attachment.containerId, ifname: attachment.ifName }]
    assertSilent(t, await callDirectly('GC', attachment, { configuration: { 'cni.dev/valid-attachments': valid } }))
    assertSilent(t, await callDirectly('STATUS', attachment))
    for (const netnsPath of [attachment.netnsPath, '', '/run/netns/none', 'relative', regularFile, fifo]) {
      assertSilent(t, await callDirectly('DEL', attachment, { env: { CNI_NETNS: netnsPath } }))
    }
  })
})

t.test('a configuration without cniVersion is one of 0.1.0', async t => {
  await leavesNothing(t, node, async () => {
    const attachment = newAttachment(pod)
    const added = await callDirectly('ADD', attachment, { configuration: { cniVersion: undefined } })
    t.match(added.json, { cniVersion: '0.1.0', ip4: { ip: /^10\.244\./ }, ip6: { ip: /^fd00:/ } })
    assertSilent(t, await callDirectly('DEL', attachment, { configuration: { cniVersion: '' } }))
  })
})

type Test = Pick<typeof t, 'equal'>

function assertSilent(t: Test, outcome: PluginOutcome): void {
  t.equal(outcome.exitCode, 0, outcome.stdout)
  t.equal(outcome.stdout, '')
}

async function fileIn(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder.path, name)
  await writeFile(path, content)
  return path
}

/** An executable that is the plugin with its standard input from `path`. */
async function plugin(name: string, path: string): Promise<string> {
  const script = join(folder.path, name)
  await writeFile(script, `#!/bin/sh\nexec '${join(BIN_FOLDER, 'tulle')}' < '${path}'\n`, { mode: 0o755 })
  return script
}
