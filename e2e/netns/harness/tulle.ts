import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Ipamd } from './ipamd.ts'
import { type JsonObject, asObject } from './json.ts'

const ROOT = join(import.meta.dirname, '../../..')

/** The executables, as `npm run build` leaves them: a folder for CNI_PATH. */
export const BIN_FOLDER = join(ROOT, 'dist/bin')

/** The folder of the socket when no configuration names another; locks and the spool are there too. */
export const RUN_FOLDER = '/run/tulle'

/** Reads one of the files in conflist/, as a node gets it. */
export async function readConflist(name: string): Promise<JsonObject> {
  const file = join(ROOT, 'conflist', name)
  return asObject(JSON.parse(await readFile(file, 'utf8')), file)
}

export interface StartOptions {
  /** Where the configuration file and the state go. */
  readonly folder: string
  /** Of the one pool, which is named `default`. */
  readonly prefixes: readonly string[]
}

/** Starts ipamd on its default socket, where conflists that name none look for it: /run is private in an isolated process. */
export async function startIpamd({ folder, prefixes }: StartOptions): Promise<Ipamd> {
  return await Ipamd.start({
    executable: join(BIN_FOLDER, 'ipamd'),
    configFile: join(folder, 'ipamd.json'),
    config: {
      socket: join(RUN_FOLDER, 'ipamd.sock'),
      stateDir: join(folder, 'state'),
      pools: [{ name: 'default', prefixes }],
    },
  })
}
