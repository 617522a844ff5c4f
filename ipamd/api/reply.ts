import type { ServerResponse } from 'node:http'

/** What a request is answered with. */
export type Reply =
  | {
      readonly kind: 'text'
      readonly type: string
      readonly text: string
      readonly headers?: Readonly<Record<string, string>>
    }
  /** Writes head and body itself, and ends when it likes. */
  | { readonly kind: 'stream'; readonly writeTo: (response: ServerResponse) => void }

export function jsonReply(body: object): Reply {
  return { kind: 'text', type: 'application/json', text: `${JSON.stringify(body)}\n` }
}
