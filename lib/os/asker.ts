import { closeSync } from 'node:fs'
import type { NativeAddon } from '../../native/addon.ts'
import type { Asker } from './ipam-client.ts'

/** This process as ipamd is to know it: the plugin, and the network namespace that it runs in. */
export function askerOf(via: 'tulle' | 'tulle-ipam', addon: Pick<NativeAddon, 'openOwnNetns'>): Required<Asker> {
  const { fd, inode } = addon.openOwnNetns()
  closeSync(fd)
  return { via, hostNetnsInode: Number(inode) }
}
