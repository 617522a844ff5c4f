import type { Command } from '../parts/command.ts'

/** One node, as the tests need to know it. */
export interface ClusterNode {
  readonly name: string
  /** In the order of the node's own preference: its IPv4 address, then its IPv6 address. */
  readonly addresses: readonly string[]
}

/** The daemons of a node that a test may restart. */
export type NodeService = 'containerd' | 'kubelet' | 'kube-proxy'

/**
 * What the suite needs of a cluster that Kubernetes' API does not give: the machines behind the nodes.
 *
 * Everything else goes through the API, so that the suite runs on any cluster for which this exists. The process that runs the
 * suite is the host outside of the cluster: what it connects to, it connects to from there.
 */
export interface ClusterProvider {
  /** For any client of Kubernetes; its server is reachable from this process. */
  readonly kubeconfigFile: string
  /** The addresses under which nodes and pods see this process. */
  readonly outsideAddresses: readonly string[]

  /** The nodes that exist now. */
  nodes(): Promise<readonly ClusterNode[]>

  /**
   * Runs a command on a node, in its host namespaces, as root.
   *
   * @returns its stdout.
   * @throws {CommandError} when it fails or takes longer than `timeoutMs` (60,000 when absent).
   */
  exec(nodeName: string, command: Command, timeoutMs?: number): Promise<string>

  /** Makes another node; returns when its kubelet was started. Waiting for Ready is the caller's. */
  addNode(): Promise<ClusterNode>

  /** Powers a node off for ever, without a warning to anybody. The Node object stays: that is the caller's. */
  removeNode(nodeName: string): Promise<void>

  /** Pulls the plug: every process and namespace of the node is gone, what is on its disk stays. Then it starts again. */
  rebootNode(nodeName: string): Promise<void>

  /** Kills a daemon (SIGKILL); returns when it runs again. */
  restartService(nodeName: string, service: NodeService): Promise<void>

  /**
   * Remembers what the machine itself, and not the cluster, has in a node's nftables, for a test that flushes all of it.
   *
   * @returns what puts it back: nothing on a machine that is a node and no more.
   */
  keepOwnRules(nodeName: string): Promise<() => Promise<void>>

  /** Kills the API server, and keeps it down until `startApiServer()`. */
  stopApiServer(): Promise<void>
  startApiServer(): Promise<void>
}
