import { execFileSync } from 'node:child_process'
import t from 'tap'
import { SYNOPSES } from './commands.ts'
import { renderCompletion } from './completion.ts'
import { optionCalled } from './options.ts'
import { SHELLS } from './shells.ts'

/** What bash would offer for the last of `words`. */
function bashOffers(words: readonly string[]): readonly string[] {
  const ask = `
    COMP_WORDS=(tullectl "$@"); COMP_CWORD=$#; _tullectl
    printf '%s\\n' "\${COMPREPLY[@]}"`
  const script = `${renderCompletion('bash', SYNOPSES)}${ask}`
  return execFileSync('bash', ['-c', script, 'bash', ...words], { timeout: 10_000 })
    .toString()
    .trim()
    .split('\n')
}

t.test('renderCompletion() makes bash offer commands, options and their values', async t => {
  t.same(bashOffers(['le']), ['leases'])
  t.same(bashOffers(['--output', 'json', 'hist']), ['history'])
  t.same(bashOffers(['leases', '--a']), ['--address'])
  t.same(bashOffers(['--socket', '/s', 'leases', '--po']), ['--pod', '--pool'])
  t.same(bashOffers(['pools', '--output', '']), ['table', 'json'])
  t.same(bashOffers(['completion', '']).slice(0, 3), SHELLS)
  t.same(bashOffers(['pools', '--pod']), [''], 'pools has no such option')
  t.same(bashOffers(['--socket', '/et']), ['/etc'])
})

t.test('renderCompletion() names each command and option in every shell', async t => {
  for (const shell of SHELLS) {
    const script = renderCompletion(shell, SYNOPSES)
    for (const { name, options } of SYNOPSES) {
      t.match(script, name, `${shell}: ${name}`)
      for (const option of options) {
        t.match(script, shell === 'fish' ? `-l ${option}` : `--${option}`, `${shell}: ${name} --${option}`)
      }
    }
  }
})

t.test('no summary has what would end a word in a completion script', async t => {
  // zsh reads brackets in them as its own.
  for (const { summary, options } of SYNOPSES) {
    for (const text of [summary, ...options.map(name => optionCalled(name).summary)]) t.notMatch(text, /['[\]]/)
  }
})
