import { join } from 'node:path'
import { invokePlugin, type PluginOutcome } from './invoke.ts'
import type { JsonObject } from './json.ts'
import type { Netns } from './namespace.ts'
import type { RuntimeAttachment } from './runtime.ts'
import { BIN_FOLDER } from './tulle.ts'

/** A call of the plugin as no runtime would make it: every part of the input can be anything. */
export interface DirectCall {
  /** Added to or replacing the environment of a good call; `undefined` takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Added to or replacing the configuration of a good call; `undefined` takes a key away. */
  readonly configuration?: JsonObject
  /** Replaces all of standard input. */
  readonly stdin?: string
  /** The executable to run; dist/bin/tulle when absent. */
  readonly executable?: string
  /** Where the plugin runs; in the node when absent. */
  readonly netns?: Netns
}

/** Calls the plugin with `command` for `attachment`: a good call at 1.1.0, but for what `call` says. */
export async function callDirectly(
  command: string,
  attachment: RuntimeAttachment,
  call: DirectCall = {},
): Promise<PluginOutcome> {
  const env = {
    PATH: process.env['PATH'],
    CNI_COMMAND: command,
    CNI_CONTAINERID: attachment.containerId,
    CNI_NETNS: attachment.netnsPath,
    CNI_IFNAME: attachment.ifName,
    CNI_PATH: BIN_FOLDER,
    ...call.env,
  }
  const configuration = {
    cniVersion: '1.1.0',
    name: 'pods',
    type: 'tulle',
    ipam: { type: 'tulle-ipam' },
    ...call.configuration,
  }
  return await invokePlugin({
    executable: call.executable ?? join(BIN_FOLDER, 'tulle'),
    env: Object.fromEntries(Object.entries(env).filter(isSet)),
    ...(call.netns === undefined ? {} : { netns: call.netns }),
    stdin: call.stdin ?? JSON.stringify(configuration),
  })
}

function isSet(entry: readonly [string, string | undefined]): entry is [string, string] {
  return entry[1] !== undefined
}
