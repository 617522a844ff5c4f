import type { AttachmentKey } from '../../lib/ipam/attachment.ts'
import { parsePrefix, type Prefix } from '../../lib/net/prefix.ts'
import type { LeaseOrigin } from './lease-origin.ts'
import { attachmentIn, numberIn, optionalTextIn, textIn, type Row } from './row.ts'
import type { StoreReader } from './store-reader.ts'

const COLUMNS =
  'id, network, container_id, if_name, leased_at_unix_ms, boot_id, init_start_ticks, host_netns_inode, via'

/** The origins of the next `limit` leases after the one of that id, oldest first. @throws {StoreError} */
export function readOrigins(
  reader: StoreReader,
  { afterId, limit }: { readonly afterId: number; readonly limit: number },
): readonly LeaseOrigin[] {
  return reader.query(`SELECT ${COLUMNS} FROM lease WHERE id > ? ORDER BY id LIMIT ?`, {
    parameters: [afterId, limit],
    read: rows => Array.from(rows, originIn),
  })
}

/** The origin of the attachment's lease, when it has a durable one. @throws {StoreError} */
export function readOrigin(reader: StoreReader, attachment: AttachmentKey): LeaseOrigin | undefined {
  const { network, containerId, ifName } = attachment
  return reader.query(`SELECT ${COLUMNS} FROM lease WHERE network = ? AND container_id = ? AND if_name = ?`, {
    parameters: [network, containerId, ifName],
    read: rows => Array.from(rows, originIn)[0],
  })
}

/** Who has the lease of that id, when it has not ended. @throws {StoreError} */
export function readAttachment(reader: StoreReader, id: number): AttachmentKey | undefined {
  return reader.query('SELECT network, container_id, if_name FROM lease WHERE id = ?', {
    parameters: [id],
    read: rows => Array.from(rows, attachmentIn)[0],
  })
}

/** The prefixes of the node's blocks. @throws {StoreError} */
export function readBlocks(reader: StoreReader): readonly Prefix[] {
  return reader.query('SELECT prefix FROM block WHERE node IS NULL ORDER BY id', {
    parameters: [],
    read: rows => Array.from(rows, row => parsePrefix(textIn(row, 'prefix'))),
  })
}

function originIn(row: Row): LeaseOrigin {
  const via = optionalTextIn(row, 'via')
  return {
    id: numberIn(row, 'id'),
    attachment: attachmentIn(row),
    leasedAtUnixMs: numberIn(row, 'leased_at_unix_ms'),
    boot: {
      bootId: textIn(row, 'boot_id'),
      initStartTicks: numberIn(row, 'init_start_ticks'),
      hostNetnsInode: numberIn(row, 'host_netns_inode'),
    },
    // What a newer version may have written is as good as nothing: it frees no lease.
    ...(via === 'tulle' || via === 'tulle-ipam' ? { via } : {}),
  }
}
