import t from 'tap'
import { renderKindRecord } from './record.ts'

const RUN = {
  date: '2026-11-26',
  versions: [['kind', 'v0.33.0']],
  created: {
    arguments: ['create', 'cluster', '--config', '/var/tmp/run-1/kind-config.yaml', '--wait', '0s'],
    said: 'Creating cluster "tulle" ...\n • Preparing nodes 📦\r\u001B[32m ✓\u001B[0m Preparing nodes 📦 \nkubectl cluster-info --kubeconfig /var/tmp/run-1/kubeconfig\n',
  },
  installed: 'NAME    STATUS\ntulle   Ready   \n',
  suite: {
    files: ['e2e/suite/pods.e2e.ts'],
    figures: ['route deleted → repaired: 0.05 s'],
    totals: '9 passed, 0 failed',
  },
  folder: '/var/tmp/run-1',
} as const

t.test('renderKindRecord() has the log as a terminal shows it at the end, and no path of the machine', async t => {
  const text = renderKindRecord(RUN)
  t.notMatch(text, '/var/tmp', 'the folder of the run')
  t.match(text, '$ kind create cluster --config kind-config.yaml --wait 0s\n')
  t.match(text, '\n ✓ Preparing nodes 📦\nkubectl cluster-info --kubeconfig kubeconfig\n')
  for (const control of ['\r', '\u001B']) t.notMatch(text, control, 'no control characters')
})

t.test('renderKindRecord() says what ran, what was measured and what it counted', async t => {
  const text = renderKindRecord(RUN)
  t.match(text, '| date | 2026-11-26 |\n| kind | v0.33.0 |\n')
  t.match(text, 'NAME    STATUS\ntulle   Ready\n')
  t.match(text, 'The suite, 1 files (e2e/suite/pods.e2e.ts)')
  t.match(text, 'measured: route deleted → repaired: 0.05 s\n9 passed, 0 failed\n')
})
