import { ParseError } from '../net/parse-error.ts'

/**
 * The members of one JSON object, read one by one with their type checked. Every refusal names the path, the value and what
 * was wanted.
 */
export class Fields {
  readonly value: Readonly<Record<string, unknown>>
  readonly path: string

  private constructor(value: Readonly<Record<string, unknown>>, path: string) {
    this.value = value
    this.path = path
  }

  /** @throws {ParseError} when `value` is not a JSON object. */
  static of(value: unknown, path: string): Fields {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new ParseError(`${path}: ${shown(value)}: want a JSON object`)
    }
    return new Fields(value as Record<string, unknown>, path)
  }

  /** Refuses every member that is not in `known`. */
  only(known: readonly string[]): this {
    for (const key of Object.keys(this.value)) {
      if (!known.includes(key))
        throw new ParseError(`${this.path}.${shortened(key)}: unknown member, want one of ${known.join(', ')}`)
    }
    return this
  }

  string(key: string): string {
    const value = this.#own(key)
    if (typeof value !== 'string') throw this.#refusal(key, 'a string')
    return value
  }

  /** A missing member and null are undefined. */
  optionalString(key: string): string | undefined {
    return this.#isAbsent(key) ? undefined : this.string(key)
  }

  boolean(key: string): boolean {
    const value = this.#own(key)
    if (typeof value !== 'boolean') throw this.#refusal(key, 'true or false')
    return value
  }

  /** A whole number that a double holds exactly, not negative. */
  count(key: string): number {
    const value = this.#own(key)
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0)
      throw this.#refusal(key, 'a whole number from 0')
    return value
  }

  /** A missing member and null are undefined. */
  optionalCount(key: string): number | undefined {
    return this.#isAbsent(key) ? undefined : this.count(key)
  }

  object(key: string): Fields {
    return Fields.of(this.#own(key), `${this.path}.${key}`)
  }

  /** A missing member and null are undefined. */
  optionalObject(key: string): Fields | undefined {
    return this.#isAbsent(key) ? undefined : this.object(key)
  }

  /** Each item is given with its path, such as `request.valid[3]`. */
  list<T>(key: string, parseItem: (item: unknown, path: string) => T): readonly T[] {
    const value = this.#own(key)
    if (!Array.isArray(value)) throw this.#refusal(key, 'an array')
    return value.map((item: unknown, index) => parseItem(item, `${this.path}.${key}[${index}]`))
  }

  /** A missing member and null are undefined. */
  optionalList<T>(key: string, parseItem: (item: unknown, path: string) => T): readonly T[] | undefined {
    return this.#isAbsent(key) ? undefined : this.list(key, parseItem)
  }

  /** Parses a text member; a refusal of `parse` is prefixed with the path. */
  parsed<T>(key: string, parse: (text: string) => T): T {
    return parsedAt(this.#own(key), `${this.path}.${key}`, parse)
  }

  /** A missing member and null are undefined. */
  optionalParsed<T>(key: string, parse: (text: string) => T): T | undefined {
    return this.#isAbsent(key) ? undefined : this.parsed(key, parse)
  }

  // Only own members: a key such as "constructor" must not find what Object.prototype has.
  #own(key: string): unknown {
    return Object.hasOwn(this.value, key) ? this.value[key] : undefined
  }

  #isAbsent(key: string): boolean {
    return this.#own(key) === undefined || this.#own(key) === null
  }

  #refusal(key: string, wanted: string): ParseError {
    return new ParseError(`${this.path}.${key}: ${shown(this.#own(key))}: want ${wanted}`)
  }
}

/** Parses the text at `path`. @throws {ParseError} that begins with the path. */
export function parsedAt<T>(value: unknown, path: string, parse: (text: string) => T): T {
  if (typeof value !== 'string') throw new ParseError(`${path}: ${shown(value)}: want a string`)
  try {
    return parse(value)
  } catch (cause) {
    if (!(cause instanceof ParseError)) throw cause
    throw new ParseError(`${path}: ${cause.message}`, { cause })
  }
}

const MAX_SHOWN_CHARACTERS = 80

/** The value as JSON, shortened: a message must stay readable whatever was sent. */
export function shown(value: unknown): string {
  const text = value === undefined ? 'missing' : JSON.stringify(value)
  return shortened(text)
}

/** The text without what exceeds the room in a message. */
export function shortened(text: string): string {
  return text.length > MAX_SHOWN_CHARACTERS ? `${text.slice(0, MAX_SHOWN_CHARACTERS)}…` : text
}
