import t from 'tap'
import { parsePrefix } from '../../lib/net/prefix.ts'
import { FreedQueue, type FreedAddress } from './freed-queue.ts'

const block = parsePrefix('10.0.0.0/24')

function freed(value: bigint, freedAtUnixMs: number): FreedAddress {
  return { value, block, freedAtUnixMs, owner: undefined, keepMs: 0 }
}

t.test(
  'FreedQueue keeps its order, and only what it holds, while one address comes and goes behind others (R8)',
  async t => {
    const queue = new FreedQueue()
    queue.push(freed(1n, 1))
    queue.push(freed(2n, 2))
    for (let turn = 0; turn < 5000; turn += 1) {
      queue.push(freed(3n, 3 + turn))
      queue.delete(3n)
    }
    queue.push(freed(3n, 6000))
    t.equal(queue.size, 3)
    for (const value of [1n, 2n, 3n]) {
      t.equal(queue.oldest()?.value, value)
      queue.delete(value)
    }
    t.equal(queue.oldest(), undefined)
  },
)
