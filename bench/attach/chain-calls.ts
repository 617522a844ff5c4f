import type { JsonObject } from '../../e2e/netns/harness/json.ts'
import type { Verb } from '../report/samples.ts'
import type { ProgramCall } from './job.ts'

/** A container that a runtime adds, checks and deletes. */
export interface Container {
  readonly id: string
  readonly netnsPath: string
  readonly ifName: string
  /** Capability arguments; each plugin gets those that it declares. */
  readonly capabilities: JsonObject
}

export interface ChainContext {
  readonly cniVersion: string
  readonly plugins: readonly JsonObject[]
  readonly cniPath: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Where the executable of a type is. */
  readonly find: (type: string) => string
}

/** The name of the network of every chain. */
export const NETWORK = 'bench'
const MARK = '@result of the plugin before@'

/**
 * What a runtime executes for one verb: the plugins of the list in order, for DEL in reverse. An ADD hands each plugin the
 * result before it; CHECK and DEL hand all of them `result`, which ADD ended with (CNI SPEC 1.1.0, section 3).
 *
 * @param container undefined for STATUS.
 */
export function callsOf(
  verb: Verb,
  context: ChainContext,
  { container, result }: { readonly container?: Container; readonly result?: string } = {},
): readonly ProgramCall[] {
  const { cniVersion, plugins, cniPath, find } = context
  const env = Object.entries({
    ...context.env,
    CNI_COMMAND: verb,
    CNI_PATH: cniPath.join(':'),
    CNI_CONTAINERID: container?.id ?? '',
    CNI_NETNS: container?.netnsPath ?? '',
    CNI_IFNAME: container?.ifName ?? '',
    CNI_ARGS: '',
  }).map(([name, value]) => `${name}=${value}`)
  const ordered = verb === 'DEL' ? plugins.toReversed() : plugins
  return ordered.map((plugin, index) => {
    const given = Object.entries(container?.capabilities ?? {}).filter(([name]) => declares(plugin, name))
    const whole = {
      ...plugin,
      name: NETWORK,
      cniVersion,
      ...(given.length > 0 && { runtimeConfig: Object.fromEntries(given) }),
      ...(result !== undefined && { prevResult: JSON.parse(result) as unknown }),
      ...(verb === 'ADD' && index > 0 && { prevResult: MARK }),
    }
    const [before = '', after] = JSON.stringify(whole).split(JSON.stringify(MARK))
    const stdin = after === undefined ? before : { before, after }
    return { executable: find(String(plugin['type'])), env, stdin }
  })
}

function declares(plugin: JsonObject, capability: string): boolean {
  const declared = plugin['capabilities']
  return (
    typeof declared === 'object' && declared !== null && Object.entries(declared).some(([name]) => name === capability)
  )
}
