import t from 'tap'
import { Deadline } from '../../lib/time/deadline.ts'
import { AttachmentTurns } from './attachment-turns.ts'

const A = { network: 'pods', containerId: 'a', ifName: 'eth0' }
const B = { ...A, containerId: 'b' }
const soon = (): Deadline => Deadline.in(10_000)

/** The lock that all processes share, which must never be taken twice: whoever asks for a held one is written down. */
class Lock {
  isHeld = false
  readonly complaints: string[] = []

  take = async (): Promise<Disposable> => {
    if (this.isHeld) this.complaints.push('asked while held')
    this.isHeld = true
    return { [Symbol.dispose]: () => void (this.isHeld = false) }
  }
}

t.test('take() gives an attachment to one at a time, in order, and others do not wait for it', async t => {
  const turns = new AttachmentTurns()
  const lock = new Lock()
  const log: string[] = []
  const use = async (name: string): Promise<void> => {
    using _turn = await turns.take(A, lock.take, soon())
    log.push(`${name} begins`)
    await new Promise(resolve => setImmediate(resolve))
    log.push(`${name} ends`)
  }
  const all = ['first', 'second', 'third'].map(use)
  using _other = await turns.take(B, new Lock().take, soon())
  await Promise.all(all)
  t.same(log, ['first begins', 'first ends', 'second begins', 'second ends', 'third begins', 'third ends'])
  t.same(lock.complaints, [])
})

t.test('take() throws what the lock throws, and gives the turn to the next', async t => {
  const turns = new AttachmentTurns()
  await t.rejects(
    turns.take(A, () => Promise.reject(new Error('full')), soon()),
    { message: 'full' },
  )
  using _turn = await turns.take(A, new Lock().take, soon())
})

t.test('take() does not wait after its deadline', async t => {
  const turns = new AttachmentTurns()
  using _turn = await turns.take(A, new Lock().take, soon())
  await t.rejects(turns.take(A, new Lock().take, Deadline.in(1)), { name: 'DeadlineExceeded' })
})
