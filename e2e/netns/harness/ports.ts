import type { JsonObject } from './json.ts'
import { TulleNode, type Pod, type TulleNodeOptions } from './tulle-node.ts'

/** The mapping of a web server, as a runtime gives it. */
export const WEB = { hostPort: 8080, containerPort: 80, protocol: 'tcp' } as const

/** A node whose plugin takes port mappings, on which a pod with ports has come and gone: the rules for it are there. */
export async function startNodeWithPorts(options: TulleNodeOptions = {}): Promise<TulleNode> {
  const plugin = { capabilities: { portMappings: true }, ...options.plugin }
  const node = await TulleNode.start({ ...options, plugin })
  try {
    await using first = await attachWithPorts(node, WEB)
    await node.detach(first)
    return node
  } catch (cause) {
    await node[Symbol.asyncDispose]()
    throw cause
  }
}

/** Attaches a pod with these port mappings. */
export async function attachWithPorts(node: TulleNode, ...portMappings: readonly JsonObject[]): Promise<Pod> {
  return await node.attach(undefined, { portMappings })
}
