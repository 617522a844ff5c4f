import { readdir } from 'node:fs/promises'
import { join } from 'node:path'

/** An architecture that the launcher is built for. */
export type LauncherArch = 'x64' | 'arm64'

const WARNINGS = ['-Wall', '-Wextra', '-Wshadow', '-Wvla', '-Wconversion', '-Werror'] as const
/** No C library: nothing is set up before the first line of ours, and nothing is relocated. */
const FREESTANDING = ['-ffreestanding', '-nostdlib', '-fno-tree-loop-distribute-patterns'] as const
const HARDENING = ['-fstack-protector-strong', '-ftrivial-auto-var-init=zero'] as const
/**
 * Where the compiler finds the guard of the stack (start.c): a variable, which it reaches for arm64 by a table of addresses that
 * nobody relocates here. So there it is where the thread's register leads.
 */
const STACK_GUARD = {
  x64: ['-mstack-protector-guard=global'],
  arm64: [
    '-mstack-protector-guard=sysreg',
    '-mstack-protector-guard-reg=tpidr_el0',
    '-mstack-protector-guard-offset=0',
  ],
} as const
/** Control flow may only go where it was meant to: Intel's CET, Arm's BTI and pointer authentication. */
const CONTROL_FLOW = { x64: '-fcf-protection=full', arm64: '-mbranch-protection=standard' } as const
/** Loaded at a random place, with no page both writable and executable. */
const LINKING = [
  '-fPIE',
  '-static-pie',
  '-s',
  '-Wl,--no-dynamic-linker',
  '-Wl,--build-id=none',
  '-Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code',
] as const

/** The C files that the launcher is made of, as absolute paths. */
export async function launcherSources(): Promise<readonly string[]> {
  const names = await readdir(import.meta.dirname)
  return names
    .filter(name => name.endsWith('.c'))
    .toSorted()
    .map(name => join(import.meta.dirname, name))
}

/** How the launcher is compiled: the arguments of the compiler, without the file to write and the sources. */
export function launcherFlags(arch: LauncherArch): readonly string[] {
  return [
    '-std=gnu17',
    '-Os',
    ...WARNINGS,
    ...FREESTANDING,
    ...HARDENING,
    ...STACK_GUARD[arch],
    CONTROL_FLOW[arch],
    ...LINKING,
  ]
}
