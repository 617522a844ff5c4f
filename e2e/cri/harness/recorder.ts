import { appendFile, chmod, mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestNode } from './node.ts'

/** The folder that the runtime has as its CNI bin dir, in the node. */
export const RECORDING_BIN_DIR = '/run/tulle-test/cni-bin'

const RECORD_FILE = '/run/tulle-test/invocations'

/** One execution of a CNI plugin. An unset variable is an empty string. */
export interface Invocation {
  readonly plugin: string
  readonly command: string
  readonly containerId: string
  readonly ifName: string
  readonly netnsPath: string
}

/**
 * Puts a script for each plugin into RECORDING_BIN_DIR: it notes the invocation and becomes the plugin.
 *
 * @param pluginFiles absolute paths; the last one of a name wins.
 */
export async function installRecorders(node: TestNode, pluginFiles: readonly string[]): Promise<void> {
  await mkdir(node.pathOf(RECORDING_BIN_DIR), { recursive: true })
  await appendFile(node.pathOf(RECORD_FILE), '')
  for (const file of pluginFiles) {
    const name = file.slice(file.lastIndexOf('/') + 1)
    const script = node.pathOf(join(RECORDING_BIN_DIR, name))
    await writeFile(script, recorder(name, file))
    await chmod(script, 0o755)
  }
}

/** The executables of `folder`. */
export async function pluginFilesIn(folder: string): Promise<readonly string[]> {
  const files = (await readdir(folder)).map(name => join(folder, name))
  const facts = await Promise.all(files.map(async file => stat(file)))
  return files.filter((_, index) => {
    const fact = facts[index]
    return fact !== undefined && fact.isFile() && (fact.mode & 0o111) !== 0
  })
}

/** What was executed so far, oldest first. */
export async function readInvocations(node: TestNode): Promise<readonly Invocation[]> {
  const lines = (await readFile(node.pathOf(RECORD_FILE), 'utf8')).split('\n')
  return lines.filter(line => line !== '').map(parseInvocation)
}

/** One short write to a file opened for appending is never torn by another: plugins run at the same time. */
function recorder(name: string, file: string): string {
  const fields = ['CNI_COMMAND', 'CNI_CONTAINERID', 'CNI_IFNAME', 'CNI_NETNS'].map(key => `"\${${key}-}"`)
  return [
    '#!/bin/sh',
    `printf '%s\\t%s\\t%s\\t%s\\t%s\\n' ${shellWord(name)} ${fields.join(' ')} >> ${RECORD_FILE}`,
    `exec ${shellWord(file)}`,
    '',
  ].join('\n')
}

function shellWord(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}

function parseInvocation(line: string): Invocation {
  const [plugin, command, containerId, ifName, netnsPath, ...more] = line.split('\t')
  if (plugin === undefined || command === undefined || containerId === undefined)
    throw new Error(`Cannot parse "${line}"`)
  if (ifName === undefined || netnsPath === undefined || more.length > 0) throw new Error(`Cannot parse "${line}"`)
  return { plugin, command, containerId, ifName, netnsPath }
}
