import { Netns } from './namespace.ts'
import { until } from './until.ts'

/** One end of a pair that keeps a bridge up while no pod is on it. */
const PORT = 'port0'

/**
 * Gives a bridge of the node a port that is always up: the kernel marks routes of a bridge without one, some time after the
 * last was removed, and snapshots would differ by that. The returned object removes it.
 */
export async function keepUp(bridge: string): Promise<AsyncDisposable> {
  const node = Netns.own()
  for (const command of [
    ['ip', 'link', 'add', PORT, 'type', 'veth', 'peer', 'name', 'port1'],
    // A request of its own: of one request the kernel carries out `up` first.
    ['ip', 'link', 'set', PORT, 'addrgenmode', 'none'],
    ['ip', 'link', 'set', 'port1', 'addrgenmode', 'none'],
    ['ip', 'link', 'set', PORT, 'master', bridge],
    ['ip', 'link', 'set', PORT, 'up'],
    ['ip', 'link', 'set', 'port1', 'up'],
  ] as const) {
    await node.run(command)
  }
  await until(`${bridge} is up`, async () => (await node.run(['ip', 'link', 'show', bridge])).includes('state UP'))
  return { [Symbol.asyncDispose]: async () => void (await node.run(['ip', 'link', 'delete', PORT])) }
}

/** Removes a bridge of the node. */
export async function removeBridge(bridge: string): Promise<void> {
  await Netns.own().run(['ip', 'link', 'delete', bridge])
}
