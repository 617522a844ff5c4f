import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Command } from '../../parts/command.ts'
import type { ClusterFacts } from './node.ts'
import type { NodeDescription } from './description.ts'
import { startDetached } from './machine.ts'
import { API_SERVICE_ADDRESS, POD_PREFIXES, SERVICE_PREFIXES } from './network.ts'
import { CertificateAuthority } from './pki.ts'

const ETCD = 'http://127.0.0.1:2379'
const API_PORT = 6443

/** Its daemons, in the order in which they are started. */
const DAEMONS = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler'] as const

/** The API server's address for everybody. */
export function apiServerUrl(address: string): string {
  return `https://${address}:${API_PORT}`
}

/** Where the control plane keeps its files. */
export function controlPlaneFolder({ stateFolder }: ClusterFacts): string {
  return join(stateFolder, 'control-plane')
}

export function adminKubeconfig({ stateFolder }: Pick<ClusterFacts, 'stateFolder'>): string {
  return join(stateFolder, 'admin.kubeconfig')
}

/** Makes the certificates of the control plane on the node with this address, and the administrator's kubeconfig. */
export async function installControlPlane(facts: ClusterFacts, address: string): Promise<void> {
  const folder = controlPlaneFolder(facts)
  await mkdir(join(folder, 'logs'), { recursive: true })
  const ca = await CertificateAuthority.create(join(facts.stateFolder, 'pki'))
  const names = ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster.local']
  const addresses = [API_SERVICE_ADDRESS, '127.0.0.1', address]
  const altNames = [...names.map(name => `DNS:${name}`), ...addresses.map(each => `IP:${each}`)]
  await ca.issue('apiserver', { commonName: 'kube-apiserver' }, altNames)
  await ca.issue('apiserver-kubelet', { commonName: 'kube-apiserver-kubelet-client', organization: 'system:masters' })
  const server = apiServerUrl(address)
  const admin = await ca.issue('admin', { commonName: 'admin', organization: 'system:masters' })
  await ca.writeKubeconfig(adminKubeconfig(facts), server, admin)
  for (const name of ['kube-controller-manager', 'kube-scheduler']) {
    const pair = await ca.issue(name, { commonName: `system:${name}` })
    await ca.writeKubeconfig(join(folder, `${name}.kubeconfig`), server, pair)
  }
}

/** Starts the control plane on the network of `node`, as kubeadm has it: its API server reaches pods as that node does. */
export async function startControlPlane(facts: ClusterFacts, node: NodeDescription): Promise<void> {
  const [address] = node.addresses
  if (address === undefined) throw new Error(`${node.name} has no address`)
  const folder = controlPlaneFolder(facts)
  for (const daemon of DAEMONS) {
    const command = commandOf(daemon, { folder, pki: join(facts.stateFolder, 'pki'), address })
    const supervisor = join(import.meta.dirname, 'supervise.sh')
    await startDetached(
      { machinePid: facts.machinePid, networkPid: node.initPid },
      ['bash', supervisor, daemon, folder, ...command],
      { env: facts.env, logFile: join(folder, 'logs', 'supervise.log') },
    )
  }
}

function commandOf(
  daemon: (typeof DAEMONS)[number],
  { folder, pki, address }: { readonly folder: string; readonly pki: string; readonly address: string },
): Command {
  const kubeconfig = `--kubeconfig=${folder}/${daemon}.kubeconfig`
  switch (daemon) {
    case 'etcd':
      return [
        'etcd',
        `--data-dir=${folder}/etcd`,
        `--listen-client-urls=${ETCD}`,
        `--advertise-client-urls=${ETCD}`,
        '--listen-peer-urls=http://127.0.0.1:2380',
        // The cluster does not survive the machine: nothing is gained by waiting for a disk.
        '--unsafe-no-fsync',
      ]
    case 'kube-apiserver':
      return [
        'kube-apiserver',
        `--etcd-servers=${ETCD}`,
        `--advertise-address=${address}`,
        `--secure-port=${API_PORT}`,
        `--tls-cert-file=${pki}/apiserver.crt`,
        `--tls-private-key-file=${pki}/apiserver.key`,
        `--client-ca-file=${pki}/ca.crt`,
        `--kubelet-client-certificate=${pki}/apiserver-kubelet.crt`,
        `--kubelet-client-key=${pki}/apiserver-kubelet.key`,
        '--kubelet-preferred-address-types=InternalIP,Hostname',
        '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
        `--service-account-key-file=${pki}/sa.key`,
        `--service-account-signing-key-file=${pki}/sa.key`,
        `--service-cluster-ip-range=${SERVICE_PREFIXES.join()}`,
        '--authorization-mode=Node,RBAC',
        '--enable-admission-plugins=NodeRestriction',
        '--allow-privileged=true',
      ]
    case 'kube-controller-manager':
      return [
        'kube-controller-manager',
        kubeconfig,
        '--allocate-node-cidrs=true',
        `--cluster-cidr=${POD_PREFIXES.join()}`,
        `--service-cluster-ip-range=${SERVICE_PREFIXES.join()}`,
        `--root-ca-file=${pki}/ca.crt`,
        `--service-account-private-key-file=${pki}/sa.key`,
        `--cluster-signing-cert-file=${pki}/ca.crt`,
        `--cluster-signing-key-file=${pki}/ca.key`,
        '--use-service-account-credentials=true',
        '--leader-elect=false',
        // A node that dies is noticed in the time of a test.
        '--node-monitor-period=1s',
        '--node-monitor-grace-period=8s',
        // The default limits would be what a test with a hundred pods measures.
        '--kube-api-qps=200',
        '--kube-api-burst=400',
      ]
    case 'kube-scheduler':
      return ['kube-scheduler', kubeconfig, '--leader-elect=false', '--kube-api-qps=200', '--kube-api-burst=400']
  }
}
