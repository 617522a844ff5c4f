import { ParseError } from '../lib/net/parse-error.ts'
import type { Input } from './command.ts'
import type { OptionName } from './options.ts'
import { UsageError } from './usage-error.ts'

/** The argument of an option, or undefined when the option is not given. */
export function textOption(options: Input['options'], name: OptionName): string | undefined {
  const value = options[name]
  return value === true ? undefined : value
}

/** The argument of an option, parsed. @throws {UsageError} naming the option, where `parse` throws ParseError. */
export function parsedOption<T>(
  options: Input['options'],
  { name, parse }: { readonly name: OptionName; readonly parse: (text: string) => T },
): T | undefined {
  const text = textOption(options, name)
  return text === undefined ? undefined : parsedArgument(text, { name: `--${name}`, parse })
}

/** An argument, parsed. @throws {UsageError} naming it, where `parse` throws ParseError. */
export function parsedArgument<T>(
  text: string,
  { name, parse }: { readonly name: string; readonly parse: (text: string) => T },
): T {
  try {
    return parse(text)
  } catch (cause) {
    if (!(cause instanceof ParseError)) throw cause
    throw new UsageError(`${name}: ${cause.message}`, { cause })
  }
}
