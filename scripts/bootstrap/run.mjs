import { spawn } from 'node:child_process'
import { constants } from 'node:os'

/** A command that ended with an exit code other than 0. */
export class CommandFailed extends Error {}

/**
 * Runs a command that shares our terminal, and has to succeed. There is no deadline: a person or CI's own limit ends it.
 *
 * @param {readonly string[]} command the executable and its arguments; no shell reads them.
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string }} [options]
 * @throws {CommandFailed}
 */
export async function run(command, options) {
  const exitCode = await exitCodeOf(command, options)
  if (exitCode !== 0) throw new CommandFailed(`${command.join(' ')}: exit code ${exitCode}`)
}

/**
 * Runs a command that shares our terminal. SIGINT and SIGTERM are the command's to answer, so that a step can take down what
 * it made.
 *
 * @param {readonly string[]} command
 * @param {{ env?: NodeJS.ProcessEnv, cwd?: string }} [options]
 * @returns {Promise<number>} what a shell would report: 128 + the number of the signal when one ended it.
 */
export async function exitCodeOf(command, options = {}) {
  const [file, ...args] = command
  if (file === undefined) throw new TypeError('exitCodeOf() wants a command')
  const child = spawn(file, args, { stdio: 'inherit', ...options })
  // The terminal sends SIGINT to the whole group: ignoring it here only lets the child say the last word.
  const ignore = () => {}
  const passOn = () => child.kill('SIGTERM')
  process.on('SIGINT', ignore)
  process.on('SIGTERM', passOn)
  try {
    return await new Promise((resolve, reject) => {
      child.once('error', reject)
      child.once('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal]))
    })
  } finally {
    process.off('SIGINT', ignore)
    process.off('SIGTERM', passOn)
  }
}
