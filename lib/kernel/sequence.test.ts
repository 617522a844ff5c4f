import t from 'tap'
import { Sequence } from './sequence.ts'

const cases = [
  { name: 'begins at 1: notifications have 0', last: undefined, count: 2, want: [1, 2] },
  { name: 'uses the last number there is', last: 0xffff_fffd, count: 2, want: [0xffff_fffe, 0xffff_ffff] },
  { name: 'begins anew rather than wrap within an exchange', last: 0xffff_fffe, count: 2, want: [1, 2] },
  { name: 'begins anew after the last number', last: 0xffff_ffff, count: 1, want: [1] },
  { name: 'gives none for none', last: 5, count: 0, want: [] },
] as const
for (const { name, last, count, want } of cases) {
  t.test(`take() ${name}`, async t => t.strictSame(new Sequence(last).take(count), want))
}

t.test('take() goes on where it was', async t => {
  const sequence = new Sequence(0xffff_fffe)
  sequence.take(2)
  t.strictSame(sequence.take(2), [3, 4])
})
