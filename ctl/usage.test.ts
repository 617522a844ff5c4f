import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { COMMANDS, SYNOPSES } from './commands.ts'
import { ExitCode } from './exit-code.ts'
import { optionCalled } from './options.ts'
import { renderCommandUsage, renderUsage } from './usage.ts'

t.test('renderUsage() lists every command and every exit code', async t => {
  const usage = renderUsage()
  for (const { name, summary } of SYNOPSES) {
    t.ok(
      usage.split('\n').some(line => line.startsWith(`  ${name} `) && line.endsWith(`  ${summary}`)),
      name,
    )
  }
  for (const code of Object.values(ExitCode)) t.match(usage, new RegExp(`^  ${code}  `, 'm'))
})

t.test('renderCommandUsage() lists every option of the command', async t => {
  for (const command of SYNOPSES) {
    const usage = renderCommandUsage(command)
    t.match(usage, `Usage: tullectl ${command.name}`)
    for (const option of command.options) {
      t.match(usage, `  --${option}`)
      t.match(usage, optionCalled(option).summary)
    }
    t.ok(
      usage.split('\n').every(line => line.length <= 126),
      `the help of ${command.name} fits`,
    )
  }
})

t.test('docs/tullectl.md has every command that asks ipamd, and every exit code', async t => {
  const docs = readFileSync(join(import.meta.dirname, '..', 'docs', 'tullectl.md'), 'utf8')
  for (const { name } of COMMANDS) t.match(docs, `tullectl ${name}`)
  for (const code of Object.values(ExitCode)) t.match(docs, `\n| ${code} |`)
})
