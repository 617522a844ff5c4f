/** For `.catch()`: undefined when the error has one of the system error `codes`, such as 'ENOENT'; any other error goes on. */
export function unless(...codes: readonly string[]): (error: unknown) => undefined {
  return error => {
    if (error instanceof Error && 'code' in error && codes.includes(String(error.code))) return undefined
    throw error
  }
}
