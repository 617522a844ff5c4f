import fc from 'fast-check'
import t from 'tap'
import { readServerSentEvents } from './server-sent-events.ts'

async function* inPieces(pieces: readonly string[]): AsyncGenerator<string> {
  yield* pieces
}

async function read(...pieces: readonly string[]): Promise<readonly string[]> {
  const events: string[] = []
  for await (const { name, data } of readServerSentEvents(inPieces(pieces))) events.push(`${name}: ${data}`)
  return events
}

t.test('readServerSentEvents() gives the name and data of each event, and passes over comments and ids', async t => {
  t.same(await read(': hello\n\nid: 1\nevent: leased\ndata: {"a":1}\n\n: beat\n\ndata:two\ndata: lines\n\n'), [
    'leased: {"a":1}',
    'message: two\nlines',
  ])
  t.same(await read('data: a\r\n\r\n'), ['message: a'])
})

t.test('readServerSentEvents() does not give an event that was cut off', async t => {
  t.same(await read('data: a\n\ndata: b\n'), ['message: a'])
})

t.test('readServerSentEvents() reads the same however the stream is cut', async t => {
  const text = 'id: 7\ndata: first\n\n: beat\n\ndata: second\ndata: line\n\n'
  const cuts = fc.array(fc.integer({ min: 0, max: text.length }), { maxLength: 8 })
  await fc.assert(
    fc.asyncProperty(cuts, async at => {
      const borders = [0, ...at.toSorted((a, b) => a - b), text.length]
      const pieces = borders.slice(1).map((end, index) => text.slice(borders[index], end))
      t.same(await read(...pieces), ['message: first', 'message: second\nline'])
    }),
  )
})

t.test('readServerSentEvents() refuses a line without end', async t => {
  await t.rejects(read('data: ', 'x'.repeat(70_000)), { name: 'BrokenStream' })
})
