import fc from 'fast-check'
import t from 'tap'
import { readTraceContext, traceContextOfEnv } from './trace-context.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const PARENT = `00-${TRACE}-00f067aa0ba902b7-01`

t.test('traceContextOfEnv() reads what libcni puts into the environment (E11)', async t => {
  const env = { TRACEPARENT: PARENT, TRACESTATE: 'vendor=1', BAGGAGE: 'k=v;p=1,x=%20', HOME: '/' }
  t.strictSame(traceContextOfEnv(env), { traceparent: PARENT, tracestate: 'vendor=1', baggage: 'k=v;p=1,x=%20' })
  t.strictSame(traceContextOfEnv({}), {})
  t.strictSame(traceContextOfEnv({ BAGGAGE: 'k=v' }), { baggage: 'k=v' }, 'which needs no trace')
})

t.test('readTraceContext() takes a version that is still to come, with what it appends', async t => {
  const traceparent = `cc-${TRACE}-00f067aa0ba902b7-01-what-comes.then`
  t.strictSame(
    readTraceContext(name => (name === 'traceparent' ? traceparent : undefined)),
    { traceparent },
  )
})

const unusable = [
  '',
  'x',
  PARENT.toUpperCase(),
  `ff${PARENT.slice(2)}`,
  `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
  `00-${TRACE}-${'0'.repeat(16)}-01`,
  `${PARENT}-`,
  `${PARENT}-${'x'.repeat(201)}`,
  `${PARENT}\r\nX-Evil: 1`,
  ` ${PARENT}`,
]
for (const traceparent of unusable) {
  t.test(
    `traceContextOfEnv() leaves out ${JSON.stringify(traceparent.slice(0, 70))}, and the state with it (E11)`,
    async t => {
      t.strictSame(traceContextOfEnv({ TRACEPARENT: traceparent, TRACESTATE: 'vendor=1' }), {})
    },
  )
}

t.test('traceContextOfEnv() never gives what a header cannot hold, nor more than fits', async t => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ minLength: 500, maxLength: 5000 }),
    fc.constant(PARENT),
  )
  fc.assert(
    fc.property(fc.record({ TRACEPARENT: text, TRACESTATE: text, BAGGAGE: text }), env => {
      const values = Object.values(traceContextOfEnv(env))
      return values.every(value => /^[ -~]+$/.test(value)) && values.join('').length <= 6 * 1024
    }),
  )
  t.pass()
})
