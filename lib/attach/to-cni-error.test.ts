import t from 'tap'
import { CniError } from '../cni/errors.ts'
import { IpamProblem, IpamUnavailable, type ProblemType } from '../ipam/errors.ts'
import { parseIfName } from '../net/if-name.ts'
import { ParseError } from '../net/parse-error.ts'
import { KernelError } from '../plan/kernel.ts'
import { DeadlineExceeded } from '../time/deadline.ts'
import { ApplyError } from './apply.ts'
import { NetnsError } from './edges.ts'
import { toCniError } from './to-cni-error.ts'

const OPERATION = { do: 'set-link', at: 'pod', link: parseIfName('eth0'), up: true } as const
const KERNEL_ERROR = new KernelError(OPERATION, 'EPERM')

const FAILURES: readonly (readonly [name: string, failure: unknown, code: number, msg: string])[] = [
  ['a CNI error as it is', new CniError(2, 'mode "x"'), 2, 'mode "x"'],
  ['text that cannot be parsed', new ParseError('Cannot parse address "x"'), 7, 'Cannot parse address "x"'],
  ['what the kernel refused, as a command', KERNEL_ERROR, 102, 'pod:  ip link set dev eth0 up: EPERM'],
  ['a plan that failed', new ApplyError(OPERATION, KERNEL_ERROR, []), 102, 'pod:  ip link set dev eth0 up: EPERM'],
  [
    'a plan that failed and was not undone',
    new ApplyError(OPERATION, KERNEL_ERROR, [new KernelError('ip link delete', 'EBUSY')]),
    102,
    'pod:  ip link set dev eth0 up: EPERM; not undone: ip link delete: EBUSY',
  ],
  [
    'a plan that ran out of time',
    new ApplyError(OPERATION, new DeadlineExceeded('wiring the pod'), []),
    11,
    'deadline passed while wiring the pod',
  ],
  ['a plan that hit a bug', new ApplyError(OPERATION, new TypeError('x is undefined'), []), 999, 'x is undefined'],
  ['a namespace that cannot be used', new NetnsError('/n', { reason: 'ENOENT' }), 8, 'network namespace /n: ENOENT'],
  ['a deadline', new DeadlineExceeded('waiting'), 11, 'deadline passed while waiting'],
  ['ipamd not answering', new IpamUnavailable('/s', 'ECONNREFUSED'), 11, 'ipamd at /s: ECONNREFUSED'],
  ['a bug', new TypeError('x is undefined'), 999, 'x is undefined'],
  ['what is no error at all', 'thrown text', 999, 'thrown text'],
]
for (const [name, failure, code, msg] of FAILURES) {
  t.test(`toCniError() renders ${name}`, async t => {
    const error = toCniError(failure)
    t.same([error.code, error.message], [code, msg])
  })
}

/** Every refusal of ipamd has its code: a new one fails to compile here until somebody has thought about it. */
const PROBLEMS: Readonly<Record<ProblemType, number>> = {
  'pool-exhausted': 101,
  'unknown-pool': 7,
  busy: 11,
  'deadline-passed': 11,
  'address-cooling': 11,
  'bad-address': 7,
  'address-unavailable': 104,
  'not-available-yet': 11,
  overlaps: 104,
  declined: 104,
  'late-request': 104,
  'other-instance': 104,
  'other-lease': 104,
  'bad-request': 104,
  forbidden: 104,
  'not-found': 104,
  'method-not-allowed': 104,
  'too-large': 104,
  'unsupported-media-type': 104,
  internal: 104,
  'store-failed': 104,
}
for (const [type, code] of Object.entries(PROBLEMS)) {
  t.test(`toCniError() renders ipamd’s ${type}`, async t => {
    const error = toCniError(new IpamProblem(type as ProblemType, 'its detail'))
    t.same([error.code, error.message], [code, 'its detail'])
  })
}

t.test('toCniError() keeps the stack of a bug for the person who has to find it, and no other', async t => {
  t.match(toCniError(new TypeError('x')).details, /to-cni-error\.test\.ts/)
  t.equal(toCniError(KERNEL_ERROR).details, undefined)
})
