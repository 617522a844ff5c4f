import { styleText } from 'node:util'
import packageJson from '../package.json' with { type: 'json' }
import { NobodyReads, run } from './run.ts'
import { PLAIN, wantsColour, type Style } from './style.ts'

/** Runs tullectl; sets the exit code (exit-code.ts). */
export async function main(): Promise<void> {
  // Each write learns of its own failure; without a listener the first one would end the process with a stack.
  process.stdout.on('error', () => {})
  process.exitCode = await run(process.argv.slice(2), {
    version: packageJson.version,
    style: wantsColour({ isTerminal: process.stdout.isTTY, noColor: process.env['NO_COLOR'] }) ? COLOURED : PLAIN,
    nowUnixMs: Date.now,
    write,
    complain: text => process.stderr.write(text),
  })
}

// Whether to colour is decided already.
const COLOURED: Style = (format, text) => styleText(format, text, { validateStream: false })

function write(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, failure => {
      if (failure === undefined || failure === null) resolve()
      else if ((failure as NodeJS.ErrnoException).code === 'EPIPE') reject(new NobodyReads())
      else reject(failure)
    })
  })
}
