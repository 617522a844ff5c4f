import { asNumbers, asObjects } from '../../e2e/netns/harness/json.ts'
import { runCommand } from '../../e2e/parts/command.ts'
import { nativeTool } from '../native-tools.ts'
import type { PodPair } from './hand-made.ts'

/** Enough that work of others, which comes and goes, does not decide. */
const TURNS = 100
const REPEATS = 500
const TIMEOUT_MS = 120_000

/** What a path costs the processor, of each turn, in nanoseconds. */
export interface PathCost {
  readonly roundTripNs: readonly number[]
  readonly kibNs: readonly number[]
}

/** Measures the paths, taking turns, from one thread that is at both ends of each (native/path-cost.c). */
export async function measurePathCosts(pairs: readonly PodPair[]): Promise<readonly PathCost[]> {
  const program = await nativeTool('path-cost')
  const paths = pairs.flatMap(({ from, to, address }) => [from.path, to.path, address])
  const said = await runCommand([program, String(TURNS), String(REPEATS), ...paths], { timeoutMs: TIMEOUT_MS })
  return asObjects(JSON.parse(said), 'path-cost').map(cost => ({
    roundTripNs: asNumbers(cost['roundTripNs'], 'roundTripNs'),
    kibNs: asNumbers(cost['kibNs'], 'kibNs'),
  }))
}
