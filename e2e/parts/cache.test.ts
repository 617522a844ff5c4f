import { mkdir, mkdtempDisposable, readFile, readdir, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'
import { cached } from './cache.ts'

t.test('cached() fills an entry once', async t => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'tulle-cache-'))
  const entry = { kind: 'debian', key: 'abc', cacheFolder: folder.path }
  const path = await cached(entry, writing('first'))
  t.equal(path, join(folder.path, 'debian/abc'))
  t.equal(await cached(entry, async () => void t.fail('filled again')), path)
  t.equal(await readFile(join(path, 'content'), 'utf8'), 'first')
})

t.test('cached() gives two that fill the same entry at once the one that was there first', async t => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'tulle-cache-'))
  const entry = { kind: 'go', key: 'tool', cacheFolder: folder.path }
  const { promise: bothFill, resolve } = Promise.withResolvers<void>()
  const slow = cached(entry, async temporary => {
    await bothFill
    await writing('slow')(temporary)
  })
  const path = await cached(entry, writing('fast'))
  resolve()
  t.equal(await slow, path)
  t.equal(await readFile(join(path, 'content'), 'utf8'), 'fast')
  t.same(await readdir(dirname(path)), ['tool'], 'no temporary folder is left')
})

t.test('cached() leaves nothing of an entry that could not be filled', async t => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'tulle-cache-'))
  const entry = { kind: 'debian', key: 'abc', cacheFolder: folder.path }
  await t.rejects(
    cached(entry, async temporary => {
      await writing('half')(temporary)
      throw new Error('no network')
    }),
    /no network/,
  )
  t.same(await readdir(join(folder.path, 'debian')), [])
})

t.test('cached() removes what a run killed long ago has left, and nothing younger', async t => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'tulle-cache-'))
  const parent = join(folder.path, 'debian')
  await mkdir(join(parent, '.new-old'), { recursive: true })
  await mkdir(join(parent, '.new-running'))
  const twoDaysAgo = new Date(Date.now() - 48 * 3600 * 1000)
  await utimes(join(parent, '.new-old'), twoDaysAgo, twoDaysAgo)
  await cached({ kind: 'debian', key: 'abc', cacheFolder: folder.path }, writing('content'))
  t.same((await readdir(parent)).toSorted(), ['.new-running', 'abc'])
})

function writing(text: string): (folder: string) => Promise<void> {
  return async folder => await writeFile(join(folder, 'content'), text)
}
