import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { installConflist, removeConflist } from './install-conflist.ts'

const OURS = '{ "cniVersion": "1.1.0", "name": "tulle", "plugins": [{ "type": "tulle" }] }\n'

t.test('installConflist() writes whole, once, and leaves nothing else', t => {
  const folder = t.testdir({ from: OURS, 'net.d': {} })
  const [from, to] = [join(folder, 'from'), join(folder, 'net.d', '10-tulle.conflist')]
  t.equal(installConflist({ from, to }, 'x'), true)
  t.equal(readFileSync(to, 'utf8'), OURS)
  const inode = statSync(to).ino
  t.equal(installConflist({ from, to }, 'x'), false, 'nothing to do')
  t.equal(statSync(to).ino, inode)
  t.strictSame(readdirSync(join(folder, 'net.d')), ['10-tulle.conflist'])
  removeConflist(to)
  removeConflist(to)
  t.notOk(existsSync(to))
  t.end()
})

t.test('installConflist() does not throw out what another installer added (R38)', t => {
  const folder = t.testdir({
    from: OURS,
    to: '{ "name": "old", "plugins": [{ "type": "tulle" }, { "type": "linkerd-cni" }] }',
  })
  const [from, to] = [join(folder, 'from'), join(folder, 'to')]
  t.equal(installConflist({ from, to }, 'x'), true)
  t.match(JSON.parse(readFileSync(to, 'utf8')), {
    name: 'tulle',
    plugins: [{ type: 'tulle' }, { type: 'linkerd-cni' }],
  })
  writeFileSync(to, readFileSync(to, 'utf8').replace('}\n', '}\n'))
  t.equal(installConflist({ from, to }, 'x'), false)
  t.end()
})

t.test('installConflist() fails loudly where it cannot write', t => {
  const folder = t.testdir({ from: OURS })
  t.throws(() => installConflist({ from: join(folder, 'from'), to: join(folder, 'none', 'x.conflist') }, 'x'), {
    code: 'ENOENT',
  })
  t.end()
})
