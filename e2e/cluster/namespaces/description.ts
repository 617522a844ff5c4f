import { readFile, rename, writeFile } from 'node:fs/promises'

/** How kube-proxy programs services. */
export type ProxyMode = 'nftables' | 'iptables'

/** A node that runs. */
export interface NodeDescription {
  readonly index: number
  readonly name: string
  readonly addresses: readonly string[]
  /** The number of its process 1, as the machine sees it. */
  readonly initPid: number
}

/** All that another process needs to work with a cluster that runs, as it is in `<state>/cluster.json`. */
export interface ClusterDescription {
  readonly stateFolder: string
  readonly cgroup: string
  readonly proxyMode: ProxyMode
  /** PATH and libraries for what runs on a node. */
  readonly env: Readonly<Record<string, string>>
  readonly machinePid: number
  readonly outsidePid: number
  readonly nodes: readonly NodeDescription[]
}

/** @param file as `writeDescription()` wrote it: nobody else does. */
export async function readDescription(file: string): Promise<ClusterDescription> {
  return JSON.parse(await readFile(file, 'utf8')) as ClusterDescription
}

/** Replaces the file at once: who reads it sees the old one or the new one. */
export async function writeDescription(file: string, description: ClusterDescription): Promise<void> {
  await writeFile(`${file}.new`, JSON.stringify(description, null, 2))
  await rename(`${file}.new`, file)
}
