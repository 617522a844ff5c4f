import { isBuiltin } from 'node:module'
import type { Plugin } from 'esbuild'

/**
 * What Node has loaded before our first line runs: importing these is free. And node:net, which every ADD needs: in the snapshot
 * it costs nothing, loaded afterwards 2 ms.
 */
const IN_SNAPSHOT: ReadonlySet<string> = new Set([
  'node:buffer',
  'node:events',
  'node:fs',
  'node:net',
  'node:path',
  'node:process',
  'node:timers',
  'node:url',
  'node:util',
  'node:v8',
])

/**
 * Lets the bundle import built-in modules statically, and loads each when something of it is first used: one executable
 * holds the plugin, which needs few of them, and the daemon, which needs many (node:http costs 8 ms, node:crypto 6.5 ms,
 * node:child_process 2.4 ms, and part of what they do cannot be in a snapshot).
 *
 * Each import is resolved to a CommonJS module whose exports are getters. esbuild reads a named import as a property at each
 * use, so that nothing is loaded by importing. A class that extends one of theirs at the top level would load it.
 */
export const lazyBuiltins: Plugin = {
  name: 'lazy-builtins',
  setup(build) {
    build.onResolve({ filter: /./ }, ({ path }) => {
      if (!isBuiltin(path)) return undefined
      const name = path.startsWith('node:') ? path : `node:${path}`
      return IN_SNAPSHOT.has(name) ? { path: name, external: true } : { path: name, namespace: 'lazy-builtin' }
    })
    build.onLoad({ filter: /./, namespace: 'lazy-builtin' }, ({ path }) => ({
      contents: lazyModule(path),
      loader: 'js',
    }))
  },
}

/** The source of a CommonJS module that stands for the built-in module `name`. */
function lazyModule(name: string): string {
  // The names are those of the Node that builds, which is the Node that the executable carries.
  const exports = Object.keys(process.getBuiltinModule(name) ?? {})
  const getters = exports.map(key => `  get ${JSON.stringify(key)}() { return builtin()[${JSON.stringify(key)}] },`)
  return [
    'let loaded',
    `const builtin = () => loaded ??= process.getBuiltinModule(${JSON.stringify(name)})`,
    'module.exports = {',
    ...getters,
    '}',
  ].join('\n')
}
