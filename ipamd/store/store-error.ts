/** The lease store could not be opened, read or written. The message names the file. */
export class StoreError extends Error {
  override readonly name = 'StoreError'
}
