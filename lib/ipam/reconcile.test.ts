import t from 'tap'
import { parseAddress } from '../net/address.ts'
import { checkReplyToWire, parseReconcileQuery, reconcileReplyToWire } from './reconcile.ts'

const ATTACHMENT = { network: 'net', containerId: 'abc', ifName: 'eth0' }

t.test('parseReconcileQuery() takes dryRun, and refuses what could mean anything', async t => {
  t.equal(parseReconcileQuery(new URLSearchParams()), false)
  t.equal(parseReconcileQuery(new URLSearchParams('dryRun=false')), false)
  t.equal(parseReconcileQuery(new URLSearchParams('dryRun=true')), true)
  for (const text of ['dryRun=', 'dryRun=1', 'dryrun=true', 'dryRun=true&dryRun=true']) {
    t.throws(() => parseReconcileQuery(new URLSearchParams(text)), { name: 'ParseError' }, text)
  }
})

t.test('replies go over the wire as JSON: addresses as text, attachments with their three parts', async t => {
  const address = parseAddress('fd00::7')
  const finding = { kind: 'route-without-lease', detail: 'd', address, attachment: { ...ATTACHMENT, more: 1 } } as const
  t.strictSame(checkReplyToWire({ findings: [finding] }), {
    findings: [{ kind: 'route-without-lease', detail: 'd', attachment: ATTACHMENT, address: 'fd00::7' }],
  })
  const stale = { attachment: { ...ATTACHMENT, more: 1 }, reason: 'older-boot', sinceMs: 7 } as const
  const reply = { dryRun: true, freed: [stale], watched: [], removedLinks: ['tul'], repairedBlocks: ['10.0.0.0/24'] }
  t.strictSame(reconcileReplyToWire(reply), {
    ...reply,
    freed: [{ attachment: ATTACHMENT, reason: 'older-boot', sinceMs: 7 }],
  })
})
