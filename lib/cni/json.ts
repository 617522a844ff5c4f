import { ParseError } from '../net/parse-error.ts'
import { quoteText } from '../net/quote-text.ts'
import { CniError, ErrorCode } from './errors.ts'

export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject

/** A JSON object. Read its members with the getters of this file: a key from outside may be "__proto__". */
export interface JsonObject {
  readonly [key: string]: JsonValue
}

/** An object inside a document: where it stands, for messages, and the CNI code of a fault in it. */
export interface Section {
  readonly object: JsonObject
  /** Path from the document's root, "ipam" or "ips[0]"; empty for the root. */
  readonly path: string
  readonly code: number
}

/** Longest document that is read, in UTF-16 units. A configuration may carry all annotations of a pod: 256 KiB. */
const MAX_LENGTH = 4 * 1024 * 1024

/** Deepest nesting that is read. What goes deeper could not be written again: JSON.stringify is recursive. */
const MAX_DEPTH = 64

/**
 * Parses a document that has to be a JSON object. `what` names it in messages.
 *
 * @throws {CniError} code 6 when it is no JSON, no object, too long or too deep (checklist C1).
 */
export function parseJsonObject(text: string, what = 'standard input'): JsonObject {
  if (text.length > MAX_LENGTH) {
    throw new CniError(ErrorCode.decode, `Cannot decode ${what}: ${text.length} characters; want at most ${MAX_LENGTH}`)
  }
  const value = parseJson(text, what)
  if (!isJsonObject(value)) {
    throw new CniError(ErrorCode.decode, `Cannot decode ${what}: it is ${quoteJson(value)}; want a JSON object`)
  }
  if (isDeeperThan(value, MAX_DEPTH)) {
    throw new CniError(ErrorCode.decode, `Cannot decode ${what}: want at most ${MAX_DEPTH} levels of nesting`)
  }
  return value
}

/** Starts reading at the root of a document. Faults found in it have `code`. */
export function rootSection(object: JsonObject, code: number = ErrorCode.invalidConfig): Section {
  return { object, path: '', code }
}

/** The member `key`, or undefined when it is missing or null (checklist C10). */
export function member(section: Section, key: string): JsonValue | undefined {
  return Object.hasOwn(section.object, key) ? (section.object[key] ?? undefined) : undefined
}

/** The path of the member `key`, for messages. */
export function pathOf(section: Section, key: string): string {
  return section.path === '' ? key : `${section.path}.${key}`
}

/** The failure that says: this member has this value, and something else was wanted. */
export function refusal(section: Section, key: string, wanted: string): CniError {
  const value = member(section, key)
  const path = pathOf(section, key)
  const fault = value === undefined ? `${path} is missing` : `Cannot use ${path} ${quoteJson(value)}`
  return new CniError(section.code, `${fault}: want ${wanted}`)
}

/** The failure that says: this version does not do what this member asks for (checklist C6). */
export function unsupported(path: string, value: JsonValue, wanted: string): CniError {
  return new CniError(
    ErrorCode.unsupportedField,
    `${path} ${quoteJson(value)} is not supported by this version: ${wanted}`,
  )
}

/** The text at `key`, which may be empty. @throws {CniError} when it is something else. */
export function optionalString(section: Section, key: string): string | undefined {
  const value = member(section, key)
  if (value === undefined || typeof value === 'string') return value
  throw refusal(section, key, 'a string')
}

/** The text at `key`. @throws {CniError} when it is missing, empty or something else. */
export function requiredString(section: Section, key: string): string {
  const value = optionalString(section, key)
  if (value === undefined || value === '') throw refusal(section, key, 'a string that is not empty')
  return value
}

/** The truth value at `key`. @throws {CniError} when it is something else. */
export function optionalBoolean(section: Section, key: string): boolean | undefined {
  const value = member(section, key)
  if (value === undefined || typeof value === 'boolean') return value
  throw refusal(section, key, 'true or false')
}

/** Bounds of an integer, both included. */
export interface IntegerBounds {
  readonly min: number
  readonly max: number
}

/** The integer at `key`. @throws {CniError} when it is something else, or out of bounds. */
export function optionalInteger(section: Section, key: string, bounds: IntegerBounds): number | undefined {
  const value = member(section, key)
  if (value === undefined) return undefined
  if (typeof value === 'number' && Number.isInteger(value) && value >= bounds.min && value <= bounds.max) return value
  throw refusal(section, key, `an integer from ${bounds.min} to ${bounds.max}`)
}

/** The object at `key`. @throws {CniError} when it is something else. */
export function optionalSection(section: Section, key: string): Section | undefined {
  const value = member(section, key)
  if (value === undefined) return undefined
  if (isJsonObject(value)) return { object: value, path: pathOf(section, key), code: section.code }
  throw refusal(section, key, 'an object')
}

/** The list of objects at `key`. @throws {CniError} when it is something else. */
export function optionalSections(section: Section, key: string): readonly Section[] | undefined {
  const value = optionalList(section, key)
  return value && sectionsAt(pathOf(section, key), { value, code: section.code })
}

/** The objects in the list `value`, which stands at `path`. @throws {CniError} when it is something else. */
export function sectionsAt(
  path: string,
  { value, code }: { readonly value: JsonValue; readonly code: number },
): readonly Section[] {
  if (!isList(value)) throw new CniError(code, `Cannot use ${path} ${quoteJson(value)}: want a list`)
  return value.map((object, index) => {
    const at = `${path}[${index}]`
    if (isJsonObject(object)) return { object, path: at, code }
    throw new CniError(code, `Cannot use ${at} ${quoteJson(object)}: want an object`)
  })
}

/** The list of texts at `key`. @throws {CniError} when it is something else. */
export function optionalStrings(section: Section, key: string): readonly string[] | undefined {
  return optionalList(section, key)?.map((item, index) => {
    if (typeof item === 'string') return item
    throw new CniError(section.code, `Cannot use ${pathOf(section, key)}[${index}] ${quoteJson(item)}: want a string`)
  })
}

/** Runs `parse` on text found at `path`: its ParseError becomes a CniError that says where the text stood. */
export function parseAt<Value>(at: Pick<Section, 'path' | 'code'>, parse: () => Value): Value {
  try {
    return parse()
  } catch (cause) {
    if (!(cause instanceof ParseError)) throw cause
    throw new CniError(at.code, `${at.path}: ${cause.message}`, { cause })
  }
}

/** Whether a value is a JSON object: no list, not null. */
export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Whether a value asks for nothing: null, false, 0, "", or a list or object with nothing else in it. */
export function isEmpty(value: JsonValue): boolean {
  if (typeof value !== 'object' || value === null) return !value
  return Object.values<JsonValue>(value).every(isEmpty)
}

/** Renders a value from outside for an error message: cut when it is long. */
export function quoteJson(value: JsonValue): string {
  if (typeof value === 'string') return quoteText(value)
  const text = JSON.stringify(value)
  return text.length <= 100 ? text : `${text.slice(0, 100)}… (${text.length} characters)`
}

function optionalList(section: Section, key: string): readonly JsonValue[] | undefined {
  const value = member(section, key)
  if (value === undefined) return undefined
  if (isList(value)) return value
  throw refusal(section, key, 'a list')
}

/** Whether a value is a list. */
export function isList(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value)
}

function parseJson(text: string, what: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue // JSON.parse makes nothing else
  } catch (cause) {
    const details = cause instanceof Error ? cause.message : String(cause)
    throw new CniError(ErrorCode.decode, `Cannot decode ${what}: it is not JSON`, { details, cause })
  }
}

/** Level by level, without recursion: the depth is what is in doubt. */
function isDeeperThan(root: JsonObject, limit: number): boolean {
  let level: readonly (JsonObject | readonly JsonValue[])[] = [root]
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > limit) return true
    level = level.flatMap(value => Object.values<JsonValue>(value)).filter(isNested)
  }
  return false
}

function isNested(value: JsonValue): value is JsonObject | readonly JsonValue[] {
  return typeof value === 'object' && value !== null
}
