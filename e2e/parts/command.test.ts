import t from 'tap'
import { CommandError, execute, runCommand } from './command.ts'

t.test('execute() reports how a command ended', async t => {
  const outcome = await execute(['sh', '-c', 'cat; echo bad >&2; exit 3'], { stdin: 'good' })
  t.match(outcome, { exitCode: 3, signal: null, stdout: 'good', stderr: 'bad\n', isTimedOut: false })
})

t.test('execute() ends in time although a grandchild holds the pipes', async t => {
  const startedAtMs = performance.now()
  const outcome = await execute(['sh', '-c', 'sleep 5 & wait'], { timeoutMs: 100 })
  t.match(outcome, { exitCode: null, signal: 'SIGKILL', isTimedOut: true })
  t.ok(performance.now() - startedAtMs < 4_000)
})

t.test('execute() rejects what cannot be started', async t => {
  await t.rejects(execute(['/nonexistent/tool']), { code: 'ENOENT' })
})

t.test('execute() does not mind a command that never reads its stdin', async t => {
  t.match(await execute(['true'], { stdin: 'x'.repeat(1_000_000) }), { exitCode: 0 })
})

t.test('runCommand() rejects with the command, its end and its words', async t => {
  await t.rejects(runCommand(['sh', '-c', 'echo no such thing >&2; exit 2']), CommandError)
  await t.rejects(runCommand(['sh', '-c', 'echo no such thing >&2; exit 2']), {
    message: /: exit code 2: no such thing$/,
  })
})
