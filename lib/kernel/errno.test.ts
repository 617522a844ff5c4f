import t from 'tap'
import { errnoName } from './errno.ts'

for (const [errno, name] of [
  [-17, 'EEXIST'],
  [17, 'EEXIST'],
  [-11, 'EAGAIN'],
  [-95, 'EOPNOTSUPP'],
  [-524, 'ENOTSUPP'],
  [-4095, 'E4095'],
] as const) {
  t.test(`errnoName() of ${errno} is ${name}`, async t => t.equal(errnoName(errno), name))
}
