import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import t from 'tap'
import { loadAddon } from './addon.ts'
import { buildAddon } from './build.ts'

t.test('buildAddon() builds once, again when the result was changed, and leaves no temporary file', async t => {
  const file = join(t.testdir({}), 'deep/er/tulle.node')
  await Promise.all([buildAddon(file), buildAddon(file)])
  const built = statSync(file).ino

  await buildAddon(file)
  t.equal(statSync(file).ino, built, 'unchanged inputs: not built again')

  writeFileSync(file, 'cut short')
  await buildAddon(file)
  t.ok(readFileSync(file).length > 1000, 'a damaged file is not trusted')
  t.strictSame(readdirSync(dirname(file)).toSorted(), ['tulle.node'])
  // Last, for a loaded file must not be written over.
  t.equal(typeof loadAddon(file).openNetns, 'function')
})
