import t from 'tap'
import { parseNetworkList } from './network-list.ts'

const LIST = { name: 'net', plugins: [{ type: 'ptp' }] }

/** libcni/conf.go, NetworkConfFromBytes. */
const VERSIONS = [
  { name: 'cniVersion, when it stands alone', list: { cniVersion: '0.4.0' }, runtime: '1.1.0', want: '0.4.0' },
  { name: 'cniVersion, even one that is too new', list: { cniVersion: '1.1.0' }, runtime: '1.0.0', want: '1.1.0' },
  {
    name: 'the highest offered',
    list: { cniVersion: '0.3.1', cniVersions: ['1.1.0', '1.0.0'] },
    runtime: '1.1.0',
    want: '1.1.0',
  },
  {
    name: 'cniVersion, if that is highest',
    list: { cniVersion: '1.1.0', cniVersions: ['1.0.0'] },
    runtime: '1.1.0',
    want: '1.1.0',
  },
  {
    name: 'the highest that the runtime knows',
    list: { cniVersion: '1.1.0', cniVersions: ['0.4.0', '1.0.0', '9.0.0'] },
    runtime: '1.0.0',
    want: '1.0.0',
  },
  {
    name: 'cniVersion, when none is known',
    list: { cniVersion: '9.0.0', cniVersions: ['8.0.0'] },
    runtime: '1.1.0',
    want: '9.0.0',
  },
  {
    name: 'the higher number, not the later text',
    list: { cniVersions: ['0.10.0', '0.9.0'] },
    runtime: '1.1.0',
    want: '0.10.0',
  },
] as const

for (const { name, list, runtime, want } of VERSIONS) {
  t.test(`parseNetworkList() chooses ${name}`, async t => {
    t.equal(parseNetworkList({ ...LIST, ...list }, runtime).cniVersion, want)
  })
}

t.test('parseNetworkList() refuses a list without name or plugins', async t => {
  t.throws(() => parseNetworkList({ plugins: [] }, '1.1.0'), { message: /^name: want a string/ })
  t.throws(() => parseNetworkList({ name: 'net' }, '1.1.0'), { message: /^plugins: want an array/ })
})
