/** A JSON object as it came, not looked into yet. */
export type JsonObject = { readonly [key: string]: unknown }

/** @throws {Error} naming `what`, unless `value` is a JSON object. */
export function asObject(value: unknown, what: string): JsonObject {
  if (!isObject(value)) throw new Error(`${what}: want a JSON object, got ${JSON.stringify(value)}`)
  return value
}

/** @throws {Error} naming `what`, unless `value` is an array of JSON objects. */
export function asObjects(value: unknown, what: string): readonly JsonObject[] {
  if (!Array.isArray(value)) throw new Error(`${what}: want an array, got ${JSON.stringify(value)}`)
  return value.map((item, index) => asObject(item, `${what}[${index}]`))
}

/** @throws {Error} naming `what`, unless `value` is a string. */
export function asString(value: unknown, what: string): string {
  if (typeof value !== 'string') throw new Error(`${what}: want a string, got ${JSON.stringify(value)}`)
  return value
}

/** @throws {Error} naming `what`, unless `value` is an array of numbers. */
export function asNumbers(value: unknown, what: string): readonly number[] {
  if (!Array.isArray(value) || !value.every(item => typeof item === 'number')) {
    throw new Error(`${what}: want an array of numbers, got ${JSON.stringify(value)}`)
  }
  return value
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
