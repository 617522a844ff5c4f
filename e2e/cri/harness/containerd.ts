import { copyFile, mkdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { debianParts } from '../../parts/debian.ts'
import { CriClient } from './cri-client.ts'
import { unless } from './errno.ts'
import type { TestNode } from './node.ts'
import { startNode } from './node.ts'
import { PAUSE_IMAGE, writePauseImage } from './pause-image.ts'
import { RECORDING_BIN_DIR, installRecorders, pluginFilesIn } from './recorder.ts'
import type { Service } from './service.ts'
import { until } from './until.ts'

const CONFIG_FILE = '/run/tulle-test/containerd.toml'
const SOCKET = '/run/containerd/containerd.sock'
const CONF_DIR = '/run/tulle-test/net.d'
const STOP_MS = 20_000

/** How a test wants its runtime. */
export interface RuntimeOptions {
  /** The folder of the CNI executables under test. Debian's loopback plugin, which containerd demands, is added. */
  readonly cniBinDir: string
  /** The network configuration list, copied into the runtime's conf dir. */
  readonly conflistFile: string
}

/** Debian's containerd and runc on a test node, driven through the Container Runtime Interface. */
export class Runtime implements AsyncDisposable {
  readonly node: TestNode
  readonly cri: CriClient
  readonly #containerd: Service

  constructor(node: TestNode, containerd: Service) {
    this.node = node
    this.#containerd = containerd
    this.cri = new CriClient(node.pathOf(SOCKET))
  }

  /** What containerd wrote to its log. */
  get log(): string {
    return this.#containerd.log
  }

  /** containerd's answer to SIGTERM, then the end of the node: no process, mount, cgroup or namespace is left. */
  async stop(): Promise<void> {
    this.cri[Symbol.dispose]()
    try {
      await this.#containerd.end('SIGTERM', STOP_MS)
    } finally {
      // Sandboxes that a failed test left are killed with the node.
      await this.node.stop()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

/**
 * Starts containerd on a new test node and waits until it would accept a pod.
 *
 * @throws {Error} with containerd's log when it is not ready in time; nothing is left running then.
 */
export async function startContainerd(options: RuntimeOptions): Promise<Runtime> {
  const parts = await debianParts(['containerd', 'runc', 'containernetworking-plugins'])
  await using undo = new AsyncDisposableStack()
  const node = undo.use(await startNode())
  await writeFiles(node, parts, options)
  const path = `${parts}/usr/bin:${parts}/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`
  const containerd = node.start([`${parts}/usr/bin/containerd`, '--config', CONFIG_FILE], { PATH: path })
  const runtime = undo.use(new Runtime(node, containerd))
  try {
    await becomeReady(runtime, containerd, `${parts}/usr/bin/ctr`)
  } catch (cause) {
    throw new Error(`containerd did not become ready: ${String(cause)}\n${containerd.log}`, { cause })
  }
  undo.move()
  return runtime
}

async function writeFiles(node: TestNode, parts: string, options: RuntimeOptions): Promise<void> {
  await mkdir(node.pathOf(CONF_DIR), { recursive: true })
  await copyFile(options.conflistFile, node.pathOf(join(CONF_DIR, '10-test.conflist')))
  await installRecorders(node, [`${parts}/usr/lib/cni/loopback`, ...(await pluginFilesIn(options.cniBinDir))])
  await writeFile(node.pathOf(CONFIG_FILE), containerdConfig(node.snapshotter))
}

/** Waits for the socket, imports the sandbox image, and waits until the CRI part has noticed the image and the conflist. */
async function becomeReady({ node, cri }: Runtime, containerd: Service, ctr: string): Promise<void> {
  await until('containerd to listen', async () => {
    containerd.throwIfOver()
    return stat(node.pathOf(SOCKET)).catch(unless('ENOENT'))
  })
  await writePauseImage(node.pathOf('/run/tulle-test/pause.tar'))
  await node.exec(ctr, '--address', SOCKET, '--namespace', 'k8s.io', 'images', 'import', '/run/tulle-test/pause.tar')
  await until('containerd to know the sandbox image', async () =>
    (await cri.hasImage(PAUSE_IMAGE)) ? true : undefined,
  )
  await until('containerd to be NetworkReady', async () => {
    const conditions = await cri.status()
    return conditions.every(({ status }) => status) ? true : undefined
  })
}

function containerdConfig(snapshotter: string): string {
  // opt would make /opt/containerd on the machine. The others need file systems or kernel features that nobody promised.
  const disabled = ['io.containerd.internal.v1.opt', ...['aufs', 'btrfs', 'devmapper', 'zfs'].map(snapshotterPlugin)]
  return `version = 2
root = "/run/tulle-test/containerd"
state = "/run/containerd"
disabled_plugins = ${JSON.stringify(disabled)}

[grpc]
  address = "${SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "${PAUSE_IMAGE}"
  # Without CAP_SYS_RESOURCE a score can only be raised.
  restrict_oom_score_adj = true
  disable_apparmor = true

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${RECORDING_BIN_DIR}"
    conf_dir = "${CONF_DIR}"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "${snapshotter}"

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`
}

function snapshotterPlugin(name: string): string {
  return `io.containerd.snapshotter.v1.${name}`
}
