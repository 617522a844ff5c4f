import t from 'tap'

import { CniError, ErrorCode, renderCniError } from './errors.ts'

t.test('renderCniError() writes one line with the members that the specification names (O3)', async t => {
  const error = new CniError(ErrorCode.kernel, 'ip link add: EPERM\nsecond line', {
    details: 'run as root',
    cause: 'x',
  })
  const text = renderCniError(error, '0.4.0')
  t.notMatch(text, /\n/)
  t.same(JSON.parse(text), {
    cniVersion: '0.4.0',
    code: 102,
    msg: 'ip link add: EPERM\nsecond line',
    details: 'run as root',
  })
})

t.test('renderCniError() leaves empty details out', async t => {
  t.equal(renderCniError(new CniError(7, 'no'), '1.1.0'), '{"cniVersion":"1.1.0","code":7,"msg":"no"}')
  t.equal(renderCniError(new CniError(7, 'no', { details: '' }), '1.1.0'), '{"cniVersion":"1.1.0","code":7,"msg":"no"}')
})

t.test('ErrorCode keeps 0 to 99 to the specification, and no code twice (O7)', async t => {
  const { internal, ...named } = ErrorCode
  const specified = [1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51]
  t.same(
    Object.values(named).filter(code => code < 100),
    specified,
  )
  t.equal(internal, 999)
  t.equal(new Set(Object.values(ErrorCode)).size, Object.keys(ErrorCode).length)
})
