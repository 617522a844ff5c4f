import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { cached } from '../parts/cache.ts'
import { runCommand } from '../parts/command.ts'
import { goTool } from '../parts/go.ts'
import { outside } from '../parts/outside.ts'

export const KIND_VERSION = 'v0.33.0'
const KIND_MODULE = 'sigs.k8s.io/kind'
const CRICTL = { packagePath: 'sigs.k8s.io/cri-tools/cmd/crictl', version: 'v1.36.0' } as const
const REFERENCE_PLUGINS_VERSION = 'v1.9.1'
const DOWNLOAD_MS = 180_000

/** Returns the path of the `kind` executable. @throws {GoMissing} @throws {CommandError} */
export async function kindTool(): Promise<string> {
  return await goTool({ packagePath: KIND_MODULE, version: KIND_VERSION })
}

/**
 * Returns the folder of files that kind's own base image has beside Debian's packages: entrypoint, units, settings, containerd's
 * configuration. They are inside kind's module.
 */
export async function kindNodeFiles(): Promise<string> {
  return await cached({ kind: 'kind-node-files', key: KIND_VERSION }, async temporary => {
    const answer = await runCommand(outside(['go', 'mod', 'download', '-json', `${KIND_MODULE}@${KIND_VERSION}`]), {
      timeoutMs: DOWNLOAD_MS,
    })
    const { Dir: source } = JSON.parse(answer) as { readonly Dir: string }
    await cp(join(source, 'images/base/files'), temporary, { recursive: true })
  })
}

/** crictl and the four reference plugins that a node of kind has: with its path, each one's folder in the node. */
export async function nodeTools(): Promise<readonly (readonly [file: string, folder: string])[]> {
  const tools: (readonly [string, string])[] = [[await goTool(CRICTL), 'usr/local/bin']]
  for (const plugin of ['ipam/host-local', 'main/loopback', 'main/ptp', 'meta/portmap']) {
    const packagePath = `github.com/containernetworking/plugins/plugins/${plugin}`
    tools.push([await goTool({ packagePath, version: REFERENCE_PLUGINS_VERSION }), 'opt/cni/bin'])
  }
  return tools
}
