import { isUsableMac, parseMac, type Mac } from '../net/mac.ts'
import { CniError, ErrorCode } from './errors.ts'
import { optionalSection, optionalString, parseAt, pathOf, quoteJson, rootSection } from './json.ts'
import type { CniArgs } from './cni-args.ts'
import type { NetworkConfiguration } from './configuration.ts'

interface Asked {
  readonly text: string
  readonly path: string
  readonly code: number
}

/**
 * The hardware address that the pod's interface is to have: by the capability `mac`, or else `args.cni.mac`, or else MAC in
 * CNI_ARGS (CNI CONVENTIONS.md; checklist E8). Undefined when none is asked for.
 *
 * @throws {CniError} code 7, for CNI_ARGS code 4, when it is no address that one interface can have.
 */
export function askedMac(net: NetworkConfiguration, args: CniArgs): Mac | undefined {
  const capability = at({ ...rootSection(net.runtimeConfig), path: 'runtimeConfig' })
  const conventions = optionalSection({ ...rootSection(net.args), path: 'args' }, 'cni')
  const inArgs = args.mac === undefined ? undefined : fromCniArgs(args.mac)
  const asked = capability ?? (conventions && at(conventions)) ?? inArgs
  if (asked === undefined) return undefined
  const mac = parseAt(asked, () => parseMac(asked.text))
  if (isUsableMac(mac)) return mac
  throw new CniError(
    asked.code,
    `Cannot use ${asked.path} ${quoteJson(asked.text)}: want the address of one interface, not zero and no group address`,
  )
}

function at(section: Parameters<typeof optionalString>[0]): Asked | undefined {
  const text = optionalString(section, 'mac')
  return text ? { text, path: pathOf(section, 'mac'), code: section.code } : undefined
}

function fromCniArgs(text: string): Asked {
  return { text, path: 'MAC in CNI_ARGS', code: ErrorCode.invalidEnvironment }
}
