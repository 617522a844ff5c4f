import { parseIfName } from '../net/if-name.ts'
import { parseAddressWithLength, parsePrefix } from '../net/prefix.ts'
import { FakeNodeKernel } from './fake-node-kernel.ts'
import { nodeKernelContract } from './node-kernel-contract.ts'

const RTPROT_STATIC = 4

nodeKernelContract('fake', async () => {
  const kernel = new FakeNodeKernel()
  const eth0 = kernel.addLink(parseIfName('eth0'))
  for (const text of ['192.0.2.1/24', '2001:db8::1/64']) kernel.addAddress('eth0', parseAddressWithLength(text))
  return {
    kernel,
    async addForeignRoute({ to, metric }) {
      kernel.addRoute({ to: parsePrefix(to), metric, protocol: RTPROT_STATIC, linkIndex: eth0.index })
    },
    async dispose() {},
  }
})
