import t from 'tap'

import { isAtLeast, parseCniVersion, SUPPORTED_VERSIONS, supportsVerb } from './version.ts'

for (const version of SUPPORTED_VERSIONS) {
  t.test(`parseCniVersion() accepts ${version}`, async t => t.equal(parseCniVersion(version), version))
}

t.test('parseCniVersion() takes a missing or empty version for 0.1.0', async t => {
  t.equal(parseCniVersion(undefined), '0.1.0')
  t.equal(parseCniVersion(''), '0.1.0')
})

for (const text of ['1.0', '1', '1.0.0.0', 'v1.0.0', '1.0.x', '01.0.0', ' 1.0.0', '1.0.0 ', '-1.0.0', 'latest']) {
  t.test(`parseCniVersion() refuses ${JSON.stringify(text)} as no semantic version, code 6`, async t => {
    t.throws(() => parseCniVersion(text), {
      code: 6,
      message: `Cannot parse cniVersion "${text}": want MAJOR.MINOR.PATCH`,
    })
  })
}

for (const text of ['0.0.1', '0.5.0', '1.2.0', '2.0.0', '1.0.0-rc1', '1.1.0+build']) {
  t.test(`parseCniVersion() refuses ${text} as not supported, code 1, and names both`, async t => {
    t.throws(() => parseCniVersion(text), {
      code: 1,
      message: 'incompatible CNI versions',
      details: `config is "${text}", plugin supports ["0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"]`,
    })
  })
}

t.test('isAtLeast() orders versions', async t => {
  t.equal(isAtLeast('0.4.0', '0.4.0'), true)
  t.equal(isAtLeast('1.1.0', '0.4.0'), true)
  t.equal(isAtLeast('0.3.1', '0.4.0'), false)
})

t.test('supportsVerb() knows CHECK from 0.4.0, GC and STATUS from 1.1.0', async t => {
  t.same(
    SUPPORTED_VERSIONS.filter(version => supportsVerb(version, 'CHECK')),
    ['0.4.0', '1.0.0', '1.1.0'],
  )
  t.same(
    SUPPORTED_VERSIONS.filter(version => supportsVerb(version, 'GC')),
    ['1.1.0'],
  )
  t.same(
    SUPPORTED_VERSIONS.filter(version => supportsVerb(version, 'STATUS')),
    ['1.1.0'],
  )
})
