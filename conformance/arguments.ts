import { parseArgs } from 'node:util'
import { readFileSync } from 'node:fs'
import { basename, resolve } from 'node:path'
import { type JsonObject, asObject, asObjects, asString } from '../e2e/netns/harness/json.ts'
import type { Family, Subject } from './subject.ts'

/** What the command line asks for. */
export interface Arguments {
  readonly subject: Subject
  readonly only: readonly string[]
  /** Where the report goes. */
  readonly jsonFile?: string
  /** `tap` for machines, `table` for people. */
  readonly format: 'tap' | 'table'
}

export const USAGE = `usage: npm run conformance -- --conflist FILE --cni-path DIR [options]

  --conflist FILE         the network configuration; its first plugin is the one under test
  --cni-path DIR[:DIR]    folders with the plugins that it names
  --only WORD[,WORD]      checks by id (K2.mac), number (K2), area (K) or basis (must, should, our-reading, library, lesson)
  --json FILE             writes the report, with what is needed to see each failure again
  --format tap|table      what is printed; tap when absent
  --env K=V               an environment variable of the plugins and of the commands below; may be repeated
  --setup COMMAND         prepares a fresh node (sh -c); a daemon that it leaves running belongs to the node
  --state DIR             a folder in which the plugin keeps state: looked at for leaks, emptied with the node; may be repeated
  --ignore REGEXP         paths in these folders that are of no attachment (logs, counters) and no leak
  --ifname NAME           interface name of the attachments; eth0 when absent
  --families LIST         what an attachment is to get: ipv4, ipv6 or both, with a comma between
  --reference-path DIR    folders with the reference plugins tuning, portmap, bandwidth and sbr, for chains
  --exhaustible FILE=N    the same network with N addresses only
  --outage COMMAND        takes away what ADD depends on (sh -c)

Exit code: 0 when no check failed, 1 when one did, 2 when the suite could not run. Needs root.
`

/** @throws {Error} naming the option that is wrong. */
export function parseArguments(args: readonly string[], ownPath: string): Arguments {
  const { values } = parseArgs({
    args: [...args],
    options: {
      conflist: { type: 'string' },
      'cni-path': { type: 'string' },
      only: { type: 'string', multiple: true, default: [] },
      json: { type: 'string' },
      format: { type: 'string', default: 'tap' },
      env: { type: 'string', multiple: true, default: [] },
      setup: { type: 'string' },
      state: { type: 'string', multiple: true, default: [] },
      ignore: { type: 'string' },
      ifname: { type: 'string' },
      families: { type: 'string' },
      'reference-path': { type: 'string', default: '' },
      exhaustible: { type: 'string' },
      outage: { type: 'string' },
    },
  })
  const { conflist: file, 'cni-path': cniPath, format } = values
  if (file === undefined) throw new Error('--conflist: want a file')
  if (cniPath === undefined) throw new Error('--cni-path: want a folder')
  if (format !== 'tap' && format !== 'table') throw new Error(`--format ${format}: want tap or table`)
  const subject: Subject = {
    name: basename(file),
    conflist: readConflist(file),
    cniPath: folders(cniPath),
    env: { PATH: ownPath, ...Object.fromEntries(values.env.map(parsePair)) },
    stateFolders: values.state.map(folder => resolve(folder)),
    referencePath: folders(values['reference-path']),
    ...(values.setup === undefined ? {} : { setup: values.setup }),
    ...(values.ignore === undefined ? {} : { ignoredFiles: new RegExp(values.ignore) }),
    ...(values.ifname === undefined ? {} : { ifName: values.ifname }),
    ...(values.families === undefined ? {} : { families: values.families.split(',').map(parseFamily) }),
    ...(values.exhaustible === undefined ? {} : { exhaustible: parseExhaustible(values.exhaustible) }),
    ...(values.outage === undefined ? {} : { outage: values.outage }),
  }
  const only = values.only.flatMap(words => words.split(','))
  return { subject, only, format, ...(values.json === undefined ? {} : { jsonFile: values.json }) }
}

/** Reads a conflist, or a configuration of one plugin, as a list. */
function readConflist(file: string): JsonObject {
  const conflist = asObject(JSON.parse(readFileSync(file, 'utf8')), file)
  asString(conflist['name'], `${file}: name`)
  if (conflist['plugins'] === undefined && conflist['type'] !== undefined) {
    return { cniVersion: conflist['cniVersion'], name: conflist['name'], plugins: [conflist] }
  }
  if (asObjects(conflist['plugins'], `${file}: plugins`).length === 0)
    throw new Error(`${file}: plugins: want at least one`)
  return conflist
}

function folders(text: string): readonly string[] {
  return text === '' ? [] : text.split(':').map(folder => resolve(folder))
}

function parsePair(text: string): readonly [string, string] {
  const at = text.indexOf('=')
  if (at < 1) throw new Error(`--env ${text}: want NAME=VALUE`)
  return [text.slice(0, at), text.slice(at + 1)]
}

function parseFamily(text: string): Family {
  if (text === 'ipv4' || text === 'ipv6') return text
  throw new Error(`--families ${text}: want ipv4 or ipv6`)
}

function parseExhaustible(text: string): { readonly conflist: JsonObject; readonly addresses: number } {
  const [, file, count] = /^(.+)=(\d+)$/.exec(text) ?? []
  if (file === undefined || count === undefined) throw new Error(`--exhaustible ${text}: want FILE=NUMBER`)
  return { conflist: readConflist(file), addresses: Number(count) }
}
