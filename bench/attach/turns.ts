import { CHAINS, DIRECT, FLOOR, SERVED, TRUE, TULLE_BRIDGE, type ContenderName } from '../report/contenders.ts'
import type { IperfProgram, NodeRequest } from './node-protocol.ts'

/** How much is measured. */
export interface Sizes {
  /** Single pods of each kind, in all. */
  readonly pods: number
  /** So many come and go on a new node, without and with a port, before anything is measured there. */
  readonly warmUpPods: number
  /** Of these so many in one turn. */
  readonly perTurn: number
  readonly crowds: readonly number[]
  readonly standing: readonly number[]
  readonly trafficRounds: number
  readonly trafficSeconds: number
}

/** What one contender does before the next one's turn. */
export interface Turn {
  /** Tells the turns of a run apart, for a run that goes on after a stop. */
  readonly key: string
  readonly contender: ContenderName
  readonly requests: readonly NodeRequest[]
}

/** From so many at once on, once has to be enough: the peers take minutes. */
const MANY = 200
const CROWD_ROUNDS = 3

/**
 * Everything that is measured, in an order in which what else the machine does hits the contenders alike: they take turns, and
 * each round begins with another of them.
 */
export function turnsOf(sizes: Sizes, iperf3: IperfProgram): readonly Turn[] {
  const rounds = Math.ceil(sizes.pods / sizes.perTurn)
  const single: readonly ContenderName[] = [...CHAINS, FLOOR, TRUE]
  const kinds = [false, true] as const
  return [
    { key: 'memory/0', contender: SERVED, requests: [{ do: 'memory' }] },
    ...count(rounds).flatMap(round =>
      kinds.flatMap(hasPort =>
        turnsOfRound(
          `single/${nameOf(hasPort)}`,
          { round, of: single.filter(name => !hasPort || name !== TRUE) },
          () => [{ do: 'calls', pods: sizes.perTurn, isAtOnce: false, hasPort }],
        ),
      ),
    ),
    ...sizes.crowds.flatMap(pods =>
      count(pods < MANY ? CROWD_ROUNDS : 1).flatMap(round =>
        kinds.flatMap(hasPort =>
          turnsOfRound(`crowd/${pods}/${nameOf(hasPort)}`, { round, of: CHAINS }, () => [
            { do: 'calls', pods, isAtOnce: true, hasPort },
          ]),
        ),
      ),
    ),
    ...count(sizes.trafficRounds).flatMap(round =>
      // Direct makes the same pods as served.
      turnsOfRound('traffic', { round, of: [TULLE_BRIDGE, ...CHAINS.filter(name => name !== DIRECT)] }, () => [
        { do: 'traffic', seconds: sizes.trafficSeconds, iperf3 },
      ]),
    ),
    ...sizes.standing.flatMap(pods =>
      turnsOfRound(`standing/${pods}`, { round: 0, of: CHAINS }, contender => [
        { do: 'stand', pods },
        ...(contender === SERVED ? [{ do: 'memory' } as const] : []),
        ...kinds.flatMap(hasPort =>
          count(2).map(() => ({ do: 'calls', pods: sizes.perTurn, isAtOnce: false, hasPort }) as const),
        ),
      ]),
    ),
  ]
}

interface Round {
  readonly round: number
  readonly of: readonly ContenderName[]
}

function turnsOfRound(
  key: string,
  { round, of }: Round,
  requests: (contender: ContenderName) => readonly NodeRequest[],
): readonly Turn[] {
  const first = round % of.length
  return [...of.slice(first), ...of.slice(0, first)].map(contender => ({
    key: `${key}/${round}/${contender}`,
    contender,
    requests: requests(contender),
  }))
}

function nameOf(hasPort: boolean): string {
  return hasPort ? 'port' : 'plain'
}

function count(many: number): readonly number[] {
  return Array.from({ length: many }, (_, index) => index)
}
