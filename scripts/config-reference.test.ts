import t from 'tap'
import { publishedReference, renderReference } from './config-reference.ts'

t.test('docs/ipamd.md has every key of the configuration as the schema has it', async t => {
  t.equal(publishedReference(), renderReference(), 'node scripts/config-reference.ts --write makes it so')
})

t.test('renderReference() goes into lists and objects', async t => {
  t.match(renderReference(), /\| `pools\[\]\.name` \| string \| .* Required\. \|/)
  t.match(renderReference(), /\| `pools\[\]\.blockPrefixLength\.ipv4` \| integer, 1 to 32 \|/)
})
