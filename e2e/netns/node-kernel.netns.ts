import './harness/isolated.ts'
import { resolve } from 'node:path'
import { openLinuxNodeKernel } from '../../lib/kernel/linux-node-kernel.ts'
import { nodeKernelContract } from '../../lib/kernel/node-kernel-contract.ts'
import { loadAddon } from '../../native/addon.ts'
import { buildAddon } from '../../native/build.ts'
import { Netns } from './harness/namespace.ts'

const FILE = resolve(import.meta.dirname, '../../dist/bin/lib/tulle.node')
await buildAddon(FILE)
const addon = loadAddon(FILE)
const node = Netns.own()
await node.run(['ip', 'link', 'set', 'lo', 'up'])

nodeKernelContract('linux', async () => {
  // A dummy device would do, but not every kernel has the module.
  await node.run(['ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'other'])
  for (const end of ['eth0', 'other']) await node.run(['ip', 'link', 'set', end, 'addrgenmode', 'none', 'up'])
  await node.run(['ip', 'address', 'add', '192.0.2.1/24', 'dev', 'eth0'])
  await node.run(['ip', 'address', 'add', '2001:db8::1/64', 'dev', 'eth0', 'nodad'])
  const kernel = openLinuxNodeKernel(addon)
  return {
    kernel,
    async addForeignRoute({ to, metric }) {
      const family = to.includes(':') ? '-6' : '-4'
      await node.run(['ip', family, 'route', 'add', to, 'dev', 'eth0', 'proto', 'static', 'metric', String(metric)])
    },
    async dispose() {
      kernel[Symbol.dispose]()
      for (const link of ['vx-tulle', 'eth0']) await node.execute(['ip', 'link', 'delete', link])
    },
  }
})
