import { type JsonObject, asObjects, asString } from './json.ts'

/** A network configuration list as libcni understands it. */
export interface NetworkList {
  readonly name: string
  /** The version that every plugin of the list is spoken to in. */
  readonly cniVersion: string
  readonly plugins: readonly JsonObject[]
  readonly isCheckDisabled: boolean
  readonly isGcDisabled: boolean
}

/**
 * Reads a conflist the way libcni does (libcni/conf.go, NetworkConfFromBytes): when the list has `cniVersions`, the highest
 * of these and `cniVersion` that the runtime knows is used; otherwise `cniVersion` as it stands.
 *
 * @throws {Error} when the list has no name or no plugins.
 */
export function parseNetworkList(conflist: JsonObject, runtimeVersion: string): NetworkList {
  const { name, cniVersion, cniVersions, plugins } = conflist
  return {
    name: asString(name, 'name'),
    cniVersion: chooseVersion(cniVersion ?? '', cniVersions, runtimeVersion),
    plugins: asObjects(plugins, 'plugins'),
    isCheckDisabled: conflist['disableCheck'] === true,
    isGcDisabled: conflist['disableGC'] === true,
  }
}

/** True when specification version `version` is at least `than`. An absent version counts as 0.1.0. */
export function isAtLeast(version: string, than: string): boolean {
  return compareVersions(version === '' ? '0.1.0' : version, than) >= 0
}

function chooseVersion(cniVersion: unknown, cniVersions: unknown, runtimeVersion: string): string {
  const single = asString(cniVersion, 'cniVersion')
  if (cniVersions === undefined) return single
  if (!Array.isArray(cniVersions)) throw new Error(`cniVersions: want an array, got ${JSON.stringify(cniVersions)}`)
  const offered = cniVersions.map((version, index) => asString(version, `cniVersions[${index}]`))
  const known = [...offered, single].filter(version => version !== '' && isAtLeast(runtimeVersion, version))
  return known.toSorted(compareVersions).at(-1) ?? single
}

function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map(version => version.split('.').map(Number))
  for (const index of [0, 1, 2]) {
    const difference = (left?.[index] ?? 0) - (right?.[index] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}
