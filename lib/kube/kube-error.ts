/** The API server refused, or what came back cannot be used. */
export class KubeError extends Error {
  override readonly name = 'KubeError'
  /** HTTP status; 0 when there was no answer: nobody listens, the connection broke, the time ran out. */
  readonly status: number
  /** The reason of a Status object, such as 'Expired' or 'Forbidden'. */
  readonly reason: string

  constructor(message: string, options: ErrorOptions & { readonly status?: number; readonly reason?: string } = {}) {
    super(message, options)
    this.status = options.status ?? 0
    this.reason = options.reason ?? ''
  }

  /** True when what was asked about is too old for the server to tell: everything has to be listed again. */
  get isExpired(): boolean {
    return this.status === 410 || this.reason === 'Expired' || this.reason === 'Gone'
  }
}
