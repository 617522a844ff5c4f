import { join } from 'node:path'
import { cached } from './cache.ts'
import { execute, runCommand } from './command.ts'
import { outside } from './outside.ts'

/** The oldest Go that fetches the newer toolchain which a module may ask for. */
const OLDEST_GO = { major: 1, minor: 21 }

/** Compiling from an empty module cache on a slow machine takes minutes: helm seven, where five others compile. */
const INSTALL_TIMEOUT_MS = 1_200_000

/** The reference runtime library's own driver: the newest release; add, check, del, gc and status. */
export const CNITOOL: GoTool = { packagePath: 'github.com/containernetworking/cni/cnitool', version: 'v1.3.1' }

/** What users install the chart with. */
export const HELM: GoTool = { packagePath: 'helm.sh/helm/v3/cmd/helm', version: 'v3.22.0' }

/** A Go program by its package path in a module, and the version of that module. */
export interface GoTool {
  readonly packagePath: string
  readonly version: string
}

/** This machine has no Go that could build a tool. A test may skip for this reason, and only for this one, and says so. */
export class GoMissing extends Error {
  override readonly name = 'GoMissing'
}

/**
 * Returns the path of a Go program's executable, compiled once and kept in the cache by version.
 *
 * @throws {GoMissing} when the machine has no go, or one older than 1.21.
 * @throws {CommandError} when the program does not compile or cannot be downloaded.
 */
export async function goTool({ packagePath, version }: GoTool): Promise<string> {
  const name = packagePath.slice(packagePath.lastIndexOf('/') + 1)
  const folder = await cached({ kind: 'go', key: `${name}-${version}-${process.arch}` }, async temporary => {
    await assertGo()
    await runCommand(outside(['go', 'install', `${packagePath}@${version}`], temporary), {
      // Without cgo the executable needs no library of this machine, and no C compiler is needed here.
      env: { ...process.env, GOBIN: temporary, CGO_ENABLED: '0' },
      timeoutMs: INSTALL_TIMEOUT_MS,
    })
  })
  return join(folder, name)
}

/** @throws {GoMissing} when the machine has no go, or one older than 1.21. */
export async function assertGo(): Promise<void> {
  const wanted = `${OLDEST_GO.major}.${OLDEST_GO.minor} or newer`
  const outcome = await execute(['go', 'env', 'GOVERSION']).catch((cause: unknown) => {
    throw new GoMissing(`Cannot run go: want Go ${wanted} on PATH`, { cause })
  })
  const [, major, minor] = /^go(\d+)\.(\d+)/.exec(outcome.stdout) ?? []
  const isNewEnough = Number(major) === OLDEST_GO.major && Number(minor) >= OLDEST_GO.minor
  if (major === undefined || !isNewEnough) {
    throw new GoMissing(`Cannot use ${outcome.stdout.trim() || 'the go on PATH'}: want Go ${wanted}`)
  }
}
