import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Peer } from './peer.ts'
import { REFERENCE_PEERS, SYSTEM_PATH, referenceFolder } from './reference.ts'
import { VARIANTS, tulleSubject } from './tulle.ts'

const ROOT = join(import.meta.dirname, '../..')

/** Tulle in each mode, dual stack. */
const OWN_PEERS: readonly Peer[] = VARIANTS.filter(({ name }) => name.endsWith('dual stack')).map(variant => ({
  title: `Tulle, ${variant.name.replace(', dual stack', '')}`,
  version: `this repository, ${ownVersion()}`,
  subject: async folder => {
    const reference = { cniPath: [await referenceFolder(folder, 'tulle')], env: { PATH: SYSTEM_PATH } }
    return await tulleSubject(variant, folder, reference)
  },
}))

export const PEERS: readonly Peer[] = [...OWN_PEERS, ...REFERENCE_PEERS]

/** A name of a peer that is good for a file. */
export function fileNameOf({ title }: Peer): string {
  return title.toLowerCase().replaceAll(/\W+/g, '-')
}

function ownVersion(): string {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { readonly version: string }
  return version
}
