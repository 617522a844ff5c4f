/**
 * The node of one contender: a process in namespaces of its own, which does what it is told on stdin and answers on stdout
 * (node-protocol.ts). It ends when stdin does.
 */
import '../../e2e/netns/harness/isolated.ts'
import { createInterface } from 'node:readline'
import { ContenderNode } from './contender-node.ts'
import type { NodeAnswer, NodeRequest } from './node-protocol.ts'

let node: ContenderNode | undefined
try {
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write(`${JSON.stringify(await answer(JSON.parse(line) as NodeRequest))}\n`)
  }
} finally {
  await node?.[Symbol.asyncDispose]()
}

async function answer(request: NodeRequest): Promise<NodeAnswer> {
  try {
    if (request.do !== 'open') {
      if (node === undefined) throw new Error('the node is not open')
      return { samples: await node.perform(request) }
    }
    node = await ContenderNode.open(request)
    return { samples: [] }
  } catch (failure) {
    return { failure: failure instanceof Error ? (failure.stack ?? failure.message) : String(failure) }
  }
}
