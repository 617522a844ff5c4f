import type { ClusterProvider } from '../../cluster/provider.ts'

/** Of which containers: those of a pod, by the name in its specification; the sandbox when `containerName` is absent. */
export interface ContainerChoice {
  readonly podName: string
  readonly containerName?: string
}

const CTR = ['ctr', '--namespace', 'k8s.io'] as const

/** The IDs of the containers of a pod that run now on a node, as containerd knows them: it needs no API server. */
export async function runningContainers(
  provider: ClusterProvider,
  nodeName: string,
  { podName, containerName }: ContainerChoice,
): Promise<readonly string[]> {
  const kind =
    containerName === undefined
      ? 'labels."io.cri-containerd.kind"==sandbox'
      : `labels."io.kubernetes.container.name"==${containerName}`
  const filter = `labels."io.kubernetes.pod.name"==${podName},${kind}`
  const ids = (await provider.exec(nodeName, [...CTR, 'containers', 'list', '--quiet', filter])).split('\n')
  const tasks = await provider.exec(nodeName, [...CTR, 'tasks', 'list'])
  const running = new Set(tasks.split('\n').flatMap(line => /^(\S+)\s+\d+\s+RUNNING/.exec(line)?.slice(1) ?? []))
  return ids.filter(id => running.has(id))
}

/** Sends a signal to the first process of a container. */
export async function signalContainer(
  provider: ClusterProvider,
  nodeName: string,
  { containerId, signal }: { readonly containerId: string; readonly signal: 'SIGKILL' },
): Promise<void> {
  await provider.exec(nodeName, [...CTR, 'tasks', 'kill', '--signal', signal, containerId])
}
