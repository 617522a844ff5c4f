import t from 'tap'
import { replaceSection } from './section.ts'

const page = (inside: string) =>
  `# A\n<!-- measured: npm run x -->${inside}<!-- end of what npm run x measured -->\nB <!-- measured: npm run x:y -->\n`

t.test('replaceSection() puts the text between the comments, and leaves the rest', async t => {
  const once = replaceSection(page('\nold\n'), 'npm run x', 'new\n')
  t.equal(once, page('\n\nnew\n\n'))
  t.equal(replaceSection(once, 'npm run x', 'new'), once, 'again: the same')
})

t.test('replaceSection() takes no other command for its own, and says what it misses', async t => {
  t.throws(() => replaceSection(page(''), 'npm run x:y', 'new'), /no place for npm run x:y/)
  t.throws(() => replaceSection('', 'npm run x', 'new'), /want <!-- measured: npm run x -->/)
})
