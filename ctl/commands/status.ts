import { IpamProblem } from '../../lib/ipam/errors.ts'
import { parsePoolsReply, PATHS, statusPath, type PoolReport } from '../../lib/ipam/protocol.ts'
import { parseServedReply, type ServedReply, type TallyCount } from '../../lib/ipam/served.ts'
import type { Ask } from '../ask.ts'
import type { Command } from '../command.ts'
import { ExitCode } from '../exit-code.ts'
import { printable } from '../printable.ts'
import type { Style } from '../style.ts'
import { renderTable, type Cell } from '../table.ts'
import { understood } from '../understood.ts'
import { usedOf } from './pools.ts'

export const STATUS: Command = {
  name: 'status',
  summary: 'say whether a new pod would get an address, from each pool',
  details: 'Fails (exit code 1) when one of the pools has no address to give, and says why.',
  operands: [],
  options: [],
  prepare: () => async ask => {
    const { pools } = understood(ask, await ask.get(PATHS.pools), parsePoolsReply)
    const states: PoolState[] = []
    for (const pool of pools) states.push({ pool, refusal: await refusalOf(ask, pool.name) })
    const served = understood(ask, await ask.get(PATHS.served), parseServedReply)
    const isReady = states.every(({ refusal }) => refusal === undefined)
    return {
      document: { ...documentOf(ask, states), served },
      text: style => render(ask, { states, served, style }),
      ...(isReady ? {} : { exitCode: ExitCode.failed }),
    }
  },
}

interface PoolState {
  readonly pool: PoolReport
  /** Why a new pod would get no address; undefined when it would. */
  readonly refusal: IpamProblem | undefined
}

async function refusalOf(ask: Ask, pool: string): Promise<IpamProblem | undefined> {
  try {
    await ask.get(statusPath(pool))
    return undefined
  } catch (refusal) {
    if (refusal instanceof IpamProblem) return refusal
    throw refusal
  }
}

function documentOf({ socketPath }: Ask, states: readonly PoolState[]): object {
  const pools = states.map(({ pool, refusal }) => ({
    name: pool.name,
    ready: refusal === undefined,
    ...(refusal === undefined ? {} : { problem: refusal.toWire() }),
    leased: pool.leased,
    cooling: pool.cooling,
    // Text, as ipamd has it: a /56 holds more addresses than a JSON number counts.
    capacity: pool.capacity.toString(),
  }))
  return { socket: socketPath, ready: pools.every(pool => pool.ready), pools }
}

const HEADER = ['POOL', 'READY', 'LEASED', 'COOLING', 'CAPACITY', 'USED']

function render({ socketPath }: Ask, { states, served, style }: Shown): string {
  const isReady = states.every(({ refusal }) => refusal === undefined)
  const state = isReady ? style('green', 'ready') : style('red', 'not ready')
  const reasons = states.map(({ pool, refusal }) => {
    return refusal === undefined ? '' : `${pool.name}: ${printable(refusal.detail)}\n`
  })
  return [
    `ipamd at ${printable(socketPath)}: ${state}\n\n`,
    renderTable(HEADER, { rows: states.map(rowOf), style }),
    reasons.join('') === '' ? '' : `\n${reasons.join('')}`,
    renderFallbacks(served, style),
    renderTally(served.declined, { heading: 'calls that ipamd left to the plugin since it started:', style }),
    renderTally(served.repairs, { heading: 'nftables was put right since ipamd started:', style, why: REPAIRED }),
  ].join('')
}

interface Shown {
  readonly states: readonly PoolState[]
  readonly served: ServedReply
  readonly style: Style
}

/** Nobody should run ten times slower without knowing. */
function renderFallbacks({ fallbacks }: ServedReply, style: Style): string {
  if (fallbacks.length === 0) return ''
  const lines = fallbacks.map(({ verb, reason, calls, lastSeenUnixMs }) => {
    const last = new Date(lastSeenUnixMs).toISOString()
    return `  ${printable(verb)}: ${calls}, the last before ${last} (${printable(reason)})\n`
  })
  const heading = style(
    'yellow',
    'calls of the plugin that were done without ipamd since it started, ten times slower:',
  )
  return `\n${heading}\n${lines.join('')}`
}

/** Why each was put right. */
const REPAIRED: Readonly<Record<string, string>> = {
  rules: 'chains or sets were missing or changed',
  elements: 'what a pod needs in a set was missing',
  pools: 'the prefixes of the pools were not as configured',
  abandoned: 'a pod that is gone had left something',
}

interface Told {
  readonly heading: string
  readonly style: Style
  readonly why?: Readonly<Record<string, string>>
}

function renderTally(counts: readonly TallyCount[] = [], { heading, style, why = {} }: Told): string {
  if (counts.length === 0) return ''
  const lines = counts.map(({ name, times, lastUnixMs }) => {
    const reason = Object.hasOwn(why, name) ? ` (${why[name]})` : ''
    const often = times === 1 ? 'once' : `${times} times`
    return `  ${printable(name)}: ${often}, the last at ${new Date(lastUnixMs).toISOString()}${reason}\n`
  })
  return `\n${style('yellow', heading)}\n${lines.join('')}`
}

function rowOf({ pool, refusal }: PoolState): readonly Cell[] {
  const ready: Cell = refusal === undefined ? { text: 'yes', format: 'green' } : { text: 'no', format: 'red' }
  const { leased, cooling, capacity } = pool
  return [pool.name, ready, String(leased), String(cooling), capacity.toString(), usedOf(pool)]
}
