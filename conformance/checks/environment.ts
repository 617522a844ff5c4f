import { type Check, SPEC } from '../check.ts'
import { codeOf, describeOutcome, wordsOf } from '../outcome.ts'
import type { Verb } from '../runtime.ts'
import type { Stage } from '../stage.ts'

/** Environment: what a plugin must find there, and what it must refuse (SPEC 1.1.0, section 2, "Parameters"). */
export const environmentChecks: readonly Check[] = [
  {
    id: 'E1.unknown-command',
    basis: 'must',
    source: SPEC.error,
    expected: 'An unknown CNI_COMMAND is refused with code 4, and the message names CNI_COMMAND.',
    run: async stage => await refused(stage, 'ADD', { env: { CNI_COMMAND: 'FROBNICATE' }, names: ['CNI_COMMAND'] }),
  },
  {
    id: 'E2.no-command',
    basis: 'library',
    source: SPEC.skel,
    expected:
      'Without CNI_COMMAND the plugin says on stderr which versions it supports, prints nothing, and exits with 0.',
    async run(stage) {
      const outcome = await stage.call('VERSION', { env: { CNI_COMMAND: undefined } })
      const says = /\b\d+\.\d+\.\d+\b/.test(outcome.stderr)
      stage.expect(outcome.exitCode === 0 && outcome.stdout === '' && says, describeOutcome(outcome))
    },
  },
  ...(
    [
      ['ADD', ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME']],
      ['DEL', ['CNI_CONTAINERID', 'CNI_IFNAME']],
      ['CHECK', ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME']],
    ] as const
  ).flatMap(([verb, names]) => [...names.map(name => missing(verb, [name])), missing(verb, names)]),
  ...(['-begins-with-hyphen', 'has/slash', 'has space', 'ümlaut'] as const).map((containerId, index): Check => ({
    id: `E4.container-id-${index + 1}`,
    basis: 'must',
    source: SPEC.parameters,
    expected: `The container ID ${JSON.stringify(containerId)} is refused with code 4.`,
    run: async stage => await refused(stage, 'ADD', { env: { CNI_CONTAINERID: containerId } }),
  })),
  {
    id: 'E4.container-id-allowed',
    basis: 'must',
    source: SPEC.parameters,
    expected: 'A container ID with every kind of character that is allowed is accepted, by ADD and by DEL.',
    async run(stage) {
      const pod = await stage.added({ attachment: { containerId: `0Az_.-${'x'.repeat(60)}` } })
      stage.expectSuccess(await stage.runtime.del(pod.attachment, pod.result))
    },
  },
  ...(
    [
      ['sixteen bytes', 'sixteen-bytes-12'],
      ['sixteen bytes in UTF-8, nine characters', 'üüüüüüüab'],
      ['a slash', 'et/h0'],
      ['a colon', 'eth0:1'],
      ['a space', 'et h0'],
      ['the name ".."', '..'],
    ] as const
  ).map(([what, ifName], index): Check => ({
    id: `E5.ifname-${index + 1}`,
    basis: 'library',
    source: `${SPEC.skel}; the specification says "if the plugin is unable to use this interface name it must return an error"`,
    expected: `An interface name with ${what} is refused with code 4.`,
    run: async stage => await refused(stage, 'ADD', { env: { CNI_IFNAME: ifName } }),
  })),
  {
    id: 'E5.ifname-longest',
    basis: 'must',
    source: SPEC.parameters,
    expected: 'An interface name of fifteen bytes is used, or refused with an error.',
    needs: ['interface'],
    async run(stage) {
      const ifName = 'fifteen-bytes-1'
      const pod = await stage.pod({ attachment: { ifName } })
      const added = await stage.runtime.add(pod.attachment)
      if (!added.isSuccess) return void stage.expectFailure(added)
      const shown = await stage.execute(pod.netns, ['ip', 'link', 'show', 'dev', ifName])
      stage.expect(shown.exitCode === 0, `ADD succeeded, and there is no ${ifName}: ${shown.stderr.trim()}`)
    },
  },
  {
    id: 'E7.args-ignore-unknown',
    basis: 'library',
    source: SPEC.args,
    expected: 'CNI_ARGS as Kubernetes runtimes pass it, with IgnoreUnknown=1, in any order, is accepted.',
    async run(stage) {
      const args =
        'K8S_POD_NAMESPACE=default;IgnoreUnknown=1;K8S_POD_NAME=web-0;K8S_POD_UID=0c1d;K8S_POD_INFRA_CONTAINER_ID=1f'
      const pod = await stage.added({ attachment: { args } })
      stage.expectSuccess(await stage.runtime.del(pod.attachment, pod.result))
    },
  },
  {
    id: 'E7.args-malformed',
    basis: 'our-reading',
    source: `${SPEC.parameters}, CNI_ARGS: "key-value pairs separated by semicolons"`,
    expected: 'CNI_ARGS that are no pairs (`a=b=c`) are refused by ADD.',
    run: async stage => await refused(stage, 'ADD', { env: { CNI_ARGS: 'IgnoreUnknown=1;a=b=c' }, isAnyCode: true }),
  },
  {
    id: 'E9.own-namespace',
    basis: 'library',
    source: SPEC.skel,
    expected: 'ADD refuses a CNI_NETNS that is the namespace of the plugin itself.',
    needs: ['interface'],
    leftoversAskedBy: 'E9.own-namespace-untouched',
    async run(stage) {
      const pod = await stage.pod()
      const attachment = { ...pod.attachment, netnsPath: stage.node.netns.path }
      stage.expectFailure(await stage.call('ADD', { attachment }))
      await stage.call('DEL', { attachment, env: { CNI_NETNS: '' } })
    },
  },
  {
    id: 'E9.own-namespace-untouched',
    basis: 'lesson',
    source: 'a refused ADD must not have changed the node: nobody may be able to reach it any more',
    expected: 'An ADD that names the namespace of the plugin itself changes nothing.',
    needs: ['interface'],
    async run(stage) {
      const pod = await stage.pod()
      const before = await stage.node.state()
      await stage.call('ADD', { attachment: { ...pod.attachment, netnsPath: stage.node.netns.path } })
      const added = (await stage.node.state()).filter(entry => !before.includes(entry))
      stage.expect(added.length === 0, `made: ${added.join(', ')}`)
      stage.isNodeSpent = added.length > 0
    },
  },
  {
    id: 'E10.netns-missing',
    basis: 'must',
    source: SPEC.add,
    expected: 'ADD with a CNI_NETNS that does not exist fails.',
    async run(stage) {
      const pod = await stage.pod()
      stage.expectFailure(
        await stage.call('ADD', { attachment: { ...pod.attachment, netnsPath: '/run/netns/no-such-namespace' } }),
      )
    },
  },
  {
    id: 'E10.netns-is-a-file',
    basis: 'must',
    source: SPEC.add,
    expected: 'ADD with a CNI_NETNS that is a file and no namespace fails.',
    async run(stage) {
      const pod = await stage.pod()
      stage.expectFailure(await stage.call('ADD', { attachment: { ...pod.attachment, netnsPath: '/proc/self/stat' } }))
    },
  },
  {
    id: 'E11.trace-context',
    basis: 'lesson',
    source: 'runtimes begin to pass W3C trace context in TRACEPARENT and TRACESTATE',
    expected: 'Variables of the environment that the plugin does not know do not disturb it.',
    async run(stage) {
      const pod = await stage.pod()
      const env = {
        TRACEPARENT: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        TRACESTATE: 'a=b',
        CNI_FUTURE: 'x',
      }
      stage.expectSuccess(await stage.call('ADD', { attachment: pod.attachment, env }))
    },
  },
]

function missing(verb: 'ADD' | 'DEL' | 'CHECK', names: readonly string[]): Check {
  const isAll = names.length > 1
  const short = isAll ? 'all' : (names[0] ?? '').replace('CNI_', '').toLowerCase()
  return {
    id: `E3.${verb.toLowerCase()}-without-${short}`,
    basis: isAll ? 'our-reading' : 'must',
    source: isAll ? `${SPEC.error}, code 4: "must contain the names of invalid variables"` : `${SPEC.error}, code 4`,
    expected: `${verb} without ${names.join(', ')} is refused with code 4, and the message ${isAll ? 'names all of them' : 'names it'}.`,
    ...(verb === 'CHECK' ? { needs: ['CHECK'] as const } : {}),
    run: async stage =>
      await refused(stage, verb, { env: Object.fromEntries(names.map(name => [name, undefined])), names }),
  }
}

interface Refusal {
  readonly env: Readonly<Record<string, string | undefined>>
  /** Words that the message has to contain. */
  readonly names?: readonly string[]
  /** Any code will do. */
  readonly isAnyCode?: boolean
}

async function refused(stage: Stage, verb: Verb, { env, names = [], isAnyCode = false }: Refusal): Promise<void> {
  const pod = await stage.pod()
  const outcome = await stage.call(verb, { attachment: pod.attachment, env })
  stage.expectFailure(outcome)
  if (outcome.exitCode === 0) return
  stage.expect(
    isAnyCode || codeOf(outcome) === 4,
    () => `code ${codeOf(outcome) ?? 'none'}: ${describeOutcome(outcome)}`,
  )
  const unnamed = names.filter(name => !wordsOf(outcome).includes(name))
  stage.expect(unnamed.length === 0, () => `${unnamed.join(', ')} not named: ${describeOutcome(outcome)}`)
}
