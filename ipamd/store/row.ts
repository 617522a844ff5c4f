import type { SQLOutputValue } from 'node:sqlite'
import type { AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { Lease } from '../../lib/ipam/lease.ts'
import type { PodReference } from '../../lib/ipam/protocol.ts'

/** One row of an answer of SQLite, read column by column with the type checked. */
export type Row = Readonly<Record<string, SQLOutputValue>>

/** @throws {Error} naming the column, when it holds no number. */
export function numberIn(row: Row, column: string): number {
  const value = row[column]
  if (typeof value !== 'number') throw new Error(`column ${column} holds no number`)
  return value
}

/** @throws {Error} naming the column, when it holds no text. */
export function textIn(row: Row, column: string): string {
  const value = row[column]
  if (typeof value !== 'string') throw new Error(`column ${column} holds no text`)
  return value
}

/** NULL is undefined. @throws {Error} naming the column, when it holds something else than text. */
export function optionalTextIn(row: Row, column: string): string | undefined {
  return row[column] === null ? undefined : textIn(row, column)
}

/** @throws {Error} naming the column, when it holds no bytes. */
export function bytesIn(row: Row, column: string): Uint8Array {
  const value = row[column]
  if (!(value instanceof Uint8Array)) throw new Error(`column ${column} holds no bytes`)
  return value
}

/** The attachment in the columns that `lease` and `event` have alike. */
export function attachmentIn(row: Row): AttachmentKey {
  return {
    network: textIn(row, 'network'),
    containerId: textIn(row, 'container_id'),
    ifName: textIn(row, 'if_name'),
  }
}

/** Whose an address is when its lease has ended. Absent members stay absent: what is read equals what was stored. */
export function keepIn(row: Row): Pick<Lease, 'owner' | 'stickySeconds'> {
  if (row['owner'] === null) return {}
  const stickySeconds = numberIn(row, 'sticky_seconds')
  return { owner: textIn(row, 'owner'), ...(stickySeconds === 0 ? {} : { stickySeconds }) }
}

/** The pod in the columns that `lease` and `event` have alike; undefined when none was named. */
export function podIn(row: Row): PodReference | undefined {
  const namespace = optionalTextIn(row, 'pod_namespace')
  if (namespace === undefined) return undefined
  return { namespace, name: textIn(row, 'pod_name'), uid: optionalTextIn(row, 'pod_uid') }
}
