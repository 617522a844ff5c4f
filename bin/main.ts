import { basename, dirname, join } from 'node:path'
import { setFlagsFromString, startupSnapshot } from 'node:v8'
import { main as agent } from '../agent/main.ts'
import { main as tullectl } from '../ctl/main.ts'
import { main as ipamd } from '../ipamd/main.ts'
import { CniError, ErrorCode, renderCniError } from '../lib/cni/errors.ts'
import { main as tulleIpam } from '../plugins/tulle-ipam/main.ts'
import { main as tulle } from '../plugins/tulle/main.ts'
import { rehearse } from './rehearsal.ts'

interface Program {
  readonly main: (options: { addonPath: string }) => Promise<void>
  /** True when the caller reads one JSON document from stdout, also when everything went wrong. */
  readonly isCni: boolean
}

/** The programs that this executable is, by the name under which it was started. */
const PROGRAMS: ReadonlyMap<string, Program> = new Map([
  ['tulle', { main: tulle, isCni: true }],
  ['tulle-node', { main: tulle, isCni: true }],
  ['tulle-ipam', { main: tulleIpam, isCni: true }],
  ['tulle-agent', { main: agent, isCni: false }],
  ['ipamd', { main: ipamd, isCni: false }],
  ['tullectl', { main: tullectl, isCni: false }],
])

/**
 * Runs the program called `name`. Its arguments are `process.argv.slice(2)`.
 *
 * A program answers for its own failures: one that gets here is a bug. A program that rejects must not have printed its
 * document, because this prints one.
 */
async function start(name: string, addonPath: string): Promise<void> {
  const program = PROGRAMS.get(name)
  if (program === undefined) {
    process.stderr.write(`${name}: not a name of this executable: ${[...PROGRAMS.keys()].join(', ')}\n`)
    process.exitCode = 2
    return
  }
  try {
    await program.main({ addonPath })
  } catch (failure) {
    process.exitCode = 1
    const { message, stack = message } = failure instanceof Error ? failure : new Error(String(failure))
    process.stderr.write(`${name}: ${stack}\n`)
    if (program.isCni) {
      const error = new CniError(ErrorCode.internal, `${name}: ${message}`, { details: stack, cause: failure })
      process.stdout.write(`${renderCniError(error, '1.0.0')}\n`)
    }
  }
}

/** In the executable: argv is [path of the executable, the name as called, ...arguments]. */
async function startExecutable(): Promise<void> {
  // The executable starts with the opposite (scripts/sea/executable.ts). Node's compiled code for its own modules is bound
  // to the flags it was made with: without this, each module loaded from here on would be compiled anew.
  setFlagsFromString('--rehash-snapshot')
  await start(basename(process.argv0), join(dirname(process.execPath), 'lib', 'tulle.node'))
}

/** From source, `node bin/main.ts NAME ...arguments`: the name goes, and argv is as in the executable. */
async function startSource(): Promise<void> {
  const [name = ''] = process.argv.splice(2, 1)
  const root = dirname(dirname(process.argv[1] ?? ''))
  await start(name, join(root, 'dist', 'bin', 'lib', 'tulle.node'))
}

/**
 * While the snapshot is made: says how to start from it, and fills it with compiled code. A rehearsal that fails fails the build.
 */
async function makeSnapshot(): Promise<void> {
  startupSnapshot.setDeserializeMainFunction(() => void startExecutable())
  await rehearse()
}

// The bundle has no top-level await: start() rejects for nothing, and a rejection of makeSnapshot() ends the build.
if (startupSnapshot.isBuildingSnapshot()) void makeSnapshot()
else void startSource()
