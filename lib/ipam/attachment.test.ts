import t from 'tap'
import { attachmentHash, attachmentKeyText, parseAttachmentKey } from './attachment.ts'

const ATTACHMENT = { network: 'net', containerId: 'abc', ifName: 'eth0' }

t.test('attachmentHash() is FNV-1a (64 bit) in base32', async t => {
  // FNV-1a of "net/abc/eth0" is 0xd0274336c01ab2ed, computed by another program.
  t.equal(attachmentHash(ATTACHMENT), 'naj2dg3abvmxn')
  t.match(attachmentHash({ ...ATTACHMENT, ifName: 'ä'.repeat(7) }), /^[a-z2-7]{13}$/)
})

t.test('attachmentHash() differs in each part', async t => {
  const others = [
    ATTACHMENT,
    { ...ATTACHMENT, network: 'n' },
    { ...ATTACHMENT, containerId: 'n' },
    { ...ATTACHMENT, ifName: 'n' },
  ]
  t.equal(new Set(others.map(attachmentHash)).size, 4)
  t.equal(attachmentKeyText(ATTACHMENT), 'net/abc/eth0')
})

t.test('parseAttachmentKey() refuses what would make the key ambiguous or a path (E4, E5, E6)', async t => {
  const cases = [
    { network: '' },
    { network: 'a/b' },
    { network: '-a' },
    { containerId: '..' },
    { containerId: 'a\n' },
    { containerId: 'a'.repeat(256) },
    { ifName: '' },
    { ifName: 'a/b' },
    { ifName: '..' },
    { ifName: 'sixteen-bytes-xx' },
  ]
  for (const part of cases)
    t.throws(() => parseAttachmentKey({ ...ATTACHMENT, ...part }), { name: 'ParseError' }, JSON.stringify(part))
  t.same(parseAttachmentKey(ATTACHMENT), ATTACHMENT)
})
