import t from 'tap'
import { conditionsOf, eventsOf, type NodeFindings } from './conditions.ts'
import type { IpamdReport } from './ipamd-report.ts'

const NOW = 1_700_000_000_000

function ipamdWith(leased: number, cooling = 0): IpamdReport {
  const families = [{ family: 4, leased, cooling, capacity: 254n }] as const
  return {
    pools: [{ name: 'default', prefixes: [], blocks: [], leased, cooling, capacity: 254n, families }],
    fallbacks: [],
  }
}

const WELL: NodeFindings = { missing: [], ipamd: ipamdWith(3), hostProblems: [], nowUnixMs: NOW }

function statuses(findings: NodeFindings): Readonly<Record<string, string>> {
  return Object.fromEntries(conditionsOf(findings).map(({ type, status }) => [type, status]))
}

t.test('conditionsOf() says False for all that is well', t => {
  t.strictSame(statuses(WELL), {
    NetworkUnavailable: 'False',
    TulleAddressesExhausted: 'False',
    TulleDirectFallback: 'False',
    TulleHostConflict: 'False',
  })
  t.end()
})

t.test('conditionsOf() says nothing of what is not known', t => {
  t.strictSame(statuses({ ...WELL, ipamd: undefined, hostProblems: undefined }), { NetworkUnavailable: 'False' })
  t.end()
})

t.test('conditionsOf() tells a pool without a free address, with its numbers (R32)', t => {
  t.equal(statuses({ ...WELL, ipamd: ipamdWith(200, 53) })['TulleAddressesExhausted'], 'False', 'one is free')
  const full = conditionsOf({ ...WELL, ipamd: ipamdWith(200, 54) }).find(
    ({ type }) => type === 'TulleAddressesExhausted',
  )
  t.match(full, { status: 'True', message: /default has no free IPv4 address: 200 leased and 54 cooling of 254/ })
  t.end()
})

t.test('conditionsOf() tells recent calls without ipamd, and forgets old ones', t => {
  const count = { verb: 'ADD', reason: 'no-daemon', calls: 4 } as const
  const recent = { ...ipamdWith(1), fallbacks: [{ ...count, lastSeenUnixMs: NOW - 60_000 }] }
  t.match(
    conditionsOf({ ...WELL, ipamd: recent }).find(({ type }) => type === 'TulleDirectFallback'),
    { status: 'True', message: /4 ADD \(no-daemon\)/ },
  )
  const old = { ...ipamdWith(1), fallbacks: [{ ...count, lastSeenUnixMs: NOW - 3_600_000 }] }
  t.equal(statuses({ ...WELL, ipamd: old })['TulleDirectFallback'], 'False')
  t.end()
})

t.test('conditionsOf() gives a reason that the API server takes, and the cure', t => {
  const hostProblems = [{ name: 'docker-forward-drop', problem: 'Docker drops', cure: 'tell it not to' }] as const
  t.match(
    conditionsOf({ ...WELL, hostProblems }).find(({ type }) => type === 'TulleHostConflict'),
    { status: 'True', reason: 'DockerForwardDrop', message: 'Docker drops (cure: tell it not to)' },
  )
  t.match(conditionsOf({ ...WELL, missing: ['a', 'b'] })[0], { status: 'True', message: 'a; b' })
  t.end()
})

t.test('eventsOf() tells changes, and at the start only what is wrong', t => {
  const well = conditionsOf(WELL)
  const bad = conditionsOf({ ...WELL, missing: ['x'], ipamd: ipamdWith(254) })
  t.strictSame(eventsOf(new Map(), well), [])
  t.match(eventsOf(new Map(), bad), [{ type: 'Warning', reason: 'NoFreeAddress' }])
  const told = new Map(well.map(({ type, status }) => [type, status]))
  t.strictSame(
    eventsOf(told, bad).map(({ reason }) => reason),
    ['TulleIsNotReady', 'NoFreeAddress'],
  )
  const toldBad = new Map(bad.map(({ type, status }) => [type, status]))
  t.strictSame(eventsOf(toldBad, bad), [])
  t.match(eventsOf(toldBad, well), [{ type: 'Normal', reason: 'TulleIsReady' }, { type: 'Normal' }])
  t.end()
})
