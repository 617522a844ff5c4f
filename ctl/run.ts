import { IpamProblem, IpamUnavailable } from '../lib/ipam/errors.ts'
import { askOver } from './ask.ts'
import type { Action, Shown } from './command.ts'
import { SYNOPSES } from './commands.ts'
import { parseCommandLine, type Settings } from './command-line.ts'
import { renderCompletion } from './completion.ts'
import { ExitCode } from './exit-code.ts'
import { printable } from './printable.ts'
import type { Style } from './style.ts'
import { hintFor } from './hint.ts'
import { renderCommandUsage, renderUsage } from './usage.ts'

/** What tullectl needs of the world. */
export interface Edges {
  readonly version: string
  readonly style: Style
  readonly nowUnixMs: () => number
  /** Resolves when the text is written. @throws {NobodyReads} */
  readonly write: (text: string) => Promise<void>
  readonly complain: (text: string) => void
}

/** The reader of the standard output has gone away, as `head` does. */
export class NobodyReads extends Error {
  override readonly name = 'NobodyReads'
}

/**
 * Runs tullectl. What is asked for goes to `write`, what is wrong to `complain`.
 *
 * @returns the exit code. What is thrown is a bug.
 */
export async function run(args: readonly string[], edges: Edges): Promise<ExitCode> {
  try {
    return await carryOut(args, edges)
  } catch (failure) {
    if (failure instanceof NobodyReads) return ExitCode.ok
    if (failure instanceof IpamProblem) {
      edges.complain(`tullectl: ${printable(failure.detail)}\n`)
      return ExitCode.failed
    }
    if (failure instanceof IpamUnavailable) {
      edges.complain(`tullectl: ${printable(failure.message)}\n${hintFor(failure)}`)
      return ExitCode.unreachable
    }
    throw failure
  }
}

async function carryOut(args: readonly string[], edges: Edges): Promise<ExitCode> {
  const line = parseCommandLine(args, edges.nowUnixMs())
  switch (line.do) {
    case 'help':
      await edges.write(line.command === undefined ? renderUsage() : renderCommandUsage(line.command))
      return ExitCode.ok
    case 'version':
      await edges.write(`tullectl ${edges.version}\n`)
      return ExitCode.ok
    case 'completion':
      await edges.write(renderCompletion(line.shell, SYNOPSES))
      return ExitCode.ok
    case 'refuse':
      edges.complain(`tullectl: ${line.reason}\n\`tullectl help\` has the commands and options.\n`)
      return ExitCode.usage
    case 'run':
      return show(line.action, { settings: line.settings, edges })
  }
}

async function show(
  action: Action,
  { settings, edges }: { readonly settings: Settings; readonly edges: Edges },
): Promise<ExitCode> {
  const { output, socketPath, timeoutMs } = settings
  const found = await action(askOver(socketPath, timeoutMs))
  if ('parts' in found) {
    // One document for each line: nobody can read an array that does not end.
    for await (const part of found.parts) await edges.write(rendered(part, 0))
    return ExitCode.ok
  }
  await edges.write(rendered(found, 2))
  return found.exitCode ?? ExitCode.ok

  function rendered({ document, text }: Shown, indent: number): string {
    return output === 'json' ? `${JSON.stringify(document, null, indent)}\n` : text(edges.style)
  }
}
