/** What is written to ipamd's socket, as data. */
export interface SocketCase {
  /** Bytes as Latin-1 text: one character each. */
  readonly sent: string
}
