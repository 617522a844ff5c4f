import { isIPv6 } from 'node:net'

/** The names of a node and its addresses, in the order of its own preference. */
export interface NodeIdentity {
  readonly name: string
  readonly addresses: readonly string[]
}

/** As kind 0.33 starts a worker of a cluster of both families: pkg/cluster/internal/providers/docker/provision.go. */
const OPTIONS = `
  --detach --tty --net kind --restart=on-failure:1 --init=false --cgroupns=private
  --privileged --security-opt seccomp=unconfined --security-opt apparmor=unconfined
  --tmpfs /tmp --tmpfs /run --volume /var --volume /lib/modules:/lib/modules:ro
  --sysctl=net.ipv6.conf.all.disable_ipv6=0 --sysctl=net.ipv6.conf.all.forwarding=1
`

interface Worker {
  readonly name: string
  readonly cluster: string
  readonly image: string
}

/** The arguments of `docker` for the container of another worker: kind makes all its nodes when it makes the cluster. */
export function workerArguments({ name, cluster, image }: Worker): readonly string[] {
  const names = ['--name', name, '--hostname', name]
  const labels = ['--label', 'io.x-k8s.kind.role=worker', '--label', `io.x-k8s.kind.cluster=${cluster}`]
  return ['run', ...names, ...labels, ...OPTIONS.trim().split(/\s+/), image]
}

/** A name that kind would have given: of workers `tulle-worker` and `tulle-worker2` the next is `tulle-worker3`. */
export function nextWorkerName(names: readonly string[], cluster: string): string {
  const first = `${cluster}-worker`
  const numbers = names.filter(name => name.startsWith(first)).map(name => Number(name.slice(first.length) || '1'))
  const next = Math.max(0, ...numbers) + 1
  return next === 1 ? first : `${first}${next}`
}

/**
 * kubeadm's configuration of one worker (kind's `/kind/kubeadm.conf`) as that of another: with its name and its addresses.
 *
 * @throws {RangeError} when the two have not the same families.
 */
export function configurationFor(text: string, from: NodeIdentity, to: NodeIdentity): string {
  if (from.addresses.map(isIPv6).join() !== to.addresses.map(isIPv6).join()) {
    throw new RangeError(`${to.name} has ${to.addresses.join(' ')}: want the families of ${from.addresses.join(' ')}`)
  }
  const replacements = new Map([[from.name, to.name]])
  for (const [index, address] of from.addresses.entries()) replacements.set(address, to.addresses[index] ?? '')
  // Whole words: tulle-worker is no part of tulle-worker2, nor 172.18.0.2 of 172.18.0.20.
  return text.replace(/[\w.:-]+/g, word => replacements.get(word) ?? word)
}
