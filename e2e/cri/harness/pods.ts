import type { PodStatus } from './cri-client.ts'
import type { Runtime } from './containerd.ts'

/** A running pod sandbox. */
export interface Pod extends PodStatus {
  /** The sandbox's ID, which is CNI_CONTAINERID too. */
  readonly id: string
}

/** Makes and removes pods as kubelet does, each with a name and uid of its own. */
export class Pods {
  readonly #runtime: Runtime
  #made = 0

  constructor(runtime: Runtime) {
    this.#runtime = runtime
  }

  /** RunPodSandbox, then PodSandboxStatus. */
  async run(annotations: Readonly<Record<string, string>> = {}): Promise<Pod> {
    const { cri, node } = this.#runtime
    const name = `pod-${String(++this.#made)}`
    const id = await cri.runPodSandbox({ name, uid: `${name}-uid`, cgroupParent: `/${node.cgroup}`, annotations })
    return { id, ...(await cri.podSandboxStatus(id)) }
  }

  /** StopPodSandbox, then RemovePodSandbox. */
  async remove({ id }: Pod): Promise<void> {
    await this.#runtime.cri.stopPodSandbox(id)
    await this.#runtime.cri.removePodSandbox(id)
  }
}
