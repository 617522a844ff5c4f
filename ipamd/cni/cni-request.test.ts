import t from 'tap'
import { isSameFile, parseCniRequest } from './cni-request.ts'

const GOOD = ['Host', 'ipamd', 'Tulle-Deadline', '12345', 'Tulle-Host-Netns', '4:4026531840']

t.test('parseCniRequest() reads the environment as the process would have it', async t => {
  // Two bytes of UTF-8, as a reader of headers hands them over.
  const latin1 = Buffer.from('K8S_POD_NAME=ü').toString('latin1')
  const headers = [...GOOD, 'Env-CNI_COMMAND', 'ADD', 'Env-CNI_ARGS', latin1, 'env-PATH', '', 'Environment', 'x']
  const { env } = parseCniRequest(headers)
  t.same(env, { CNI_COMMAND: 'ADD', CNI_ARGS: 'K8S_POD_NAME=ü', PATH: '' })
})

t.test('parseCniRequest() reads deadline and identities; one that is not there is not known', async t => {
  const request = parseCniRequest([...GOOD, 'Tulle-Pod-Netns', '18446744073709551615:1'])
  t.equal(request.deadlineMonotonicMs, 12345)
  t.same(request.hostNetns, { device: 4n, inode: 4026531840n })
  t.same(request.podNetns, { device: 18446744073709551615n, inode: 1n })
  t.equal(request.runFolder, undefined)
})

for (const headers of [
  [],
  ['Tulle-Deadline', ''],
  ['Tulle-Deadline', '-1'],
  ['Tulle-Deadline', '1e3'],
  ['Tulle-Deadline', '1'.repeat(16)],
  [...GOOD, 'Tulle-Pod-Netns', '4'],
  [...GOOD, 'Tulle-Pod-Netns', '4:x'],
  [...GOOD, 'Tulle-Run-Folder', '4:5:6'],
]) {
  t.test(`parseCniRequest() refuses ${JSON.stringify(headers.slice(-2))}`, async t => {
    t.throws(() => parseCniRequest(headers), { name: 'ParseError', message: /^header tulle-/ })
  })
}

t.test('isSameFile() takes what is not known for another file', async t => {
  const file = { device: 1n, inode: 2n }
  t.equal(isSameFile(file, { device: 1n, inode: 2n }), true)
  t.equal(isSameFile(file, { device: 2n, inode: 2n }), false)
  t.equal(isSameFile(file, { device: 1n, inode: 1n }), false)
  t.equal(isSameFile(file, undefined), false)
  t.equal(isSameFile(undefined, undefined), false)
})
