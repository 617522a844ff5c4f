import type { ProxyMode } from './description.ts'
import { DNS_SERVICE_ADDRESSES, POD_PREFIXES } from './network.ts'
import type { NodeSpec } from './network.ts'
import type { KeyPair } from './pki.ts'

/** containerd's configuration (version 3, containerd 2). Its paths are the usual ones: a node has them for itself. */
export function containerdConfig(pauseImage: string): string {
  // opt would write below /opt/containerd; the others need file systems or kernel features that nobody promised.
  const disabled = [
    'io.containerd.internal.v1.opt',
    ...['blockfile', 'btrfs', 'devmapper', 'erofs', 'zfs'].map(name => `io.containerd.snapshotter.v1.${name}`),
  ]
  return `version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ${JSON.stringify(disabled)}

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "${pauseImage}"

[plugins."io.containerd.cri.v1.runtime"]
  # Without CAP_SYS_RESOURCE a score can only be raised.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["/opt/cni/bin"]
    conf_dir = "/etc/cni/net.d"
    use_internal_loopback = true
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      SystemdCgroup = false
`
}

/** KubeletConfiguration, as JSON. */
export function kubeletConfig(caFile: string, server: KeyPair): string {
  return JSON.stringify({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: caFile } },
    authorization: { mode: 'Webhook' },
    tlsCertFile: server.certFile,
    tlsPrivateKeyFile: server.keyFile,
    cgroupDriver: 'cgroupfs',
    containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
    // The machine decides which cgroups there are, and Kubernetes 1.35 stopped liking the old ones.
    failCgroupV1: false,
    failSwapOn: false,
    oomScoreAdj: 0,
    clusterDNS: DNS_SERVICE_ADDRESSES,
    clusterDomain: 'cluster.local',
    maxPods: 250,
    // A machine of tests may be full: no pod is to be evicted, and no imported image to be collected, for that.
    evictionHard: Object.fromEntries(
      ['nodefs.available', 'imagefs.available', 'nodefs.inodesFree', 'memory.available'].map(name => [name, '0%']),
    ),
    imageGCHighThresholdPercent: 100,
    // A dead node is to be noticed in the time of a test.
    nodeStatusUpdateFrequency: '2s',
    nodeLeaseDurationSeconds: 10,
    syncFrequency: '10s',
    // Not what is measured here: the default limits would.
    kubeAPIQPS: 200,
    kubeAPIBurst: 400,
    registryPullQPS: 0,
    serializeImagePulls: false,
    shutdownGracePeriod: '0s',
  })
}

/** kubelet's command line: what its configuration file cannot say. */
export function kubeletFlags({ name, address4, address6 }: NodeSpec, stateFolder: string): readonly string[] {
  return [
    `--config=${stateFolder}/kubelet.json`,
    `--kubeconfig=${stateFolder}/kubelet.kubeconfig`,
    `--hostname-override=${name}`,
    `--node-ip=${address4},${address6}`,
    '--v=2',
  ]
}

/** KubeProxyConfiguration, as JSON. */
export function kubeProxyConfig(kubeconfigFile: string, mode: ProxyMode): string {
  return JSON.stringify({
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    clientConnection: { kubeconfig: kubeconfigFile, qps: 100, burst: 200 },
    mode,
    clusterCIDR: POD_PREFIXES.join(),
    oomScoreAdj: 0,
    // Those sysctls are the machine's, and read-only in a network namespace.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
  })
}
