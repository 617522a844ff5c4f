import { IpamProblem } from '../../lib/ipam/errors.ts'
import { PATHS } from '../../lib/ipam/protocol.ts'
import { quoteText } from '../../lib/net/quote-text.ts'
import { backup } from './backup-handlers.ts'
import { served, serveCni } from './cni-handlers.ts'
import { endGrants, grant } from './grant-handlers.ts'
import type { Handler } from './handler.ts'
import * as inspect from './inspection-handlers.ts'
import * as lease from './lease-handlers.ts'
import { check, reconcile } from './reconcile-handlers.ts'
import { handOverPodCidrs, podCidrs } from './pod-cidr-handlers.ts'
import { endReservation, reservations, reserve } from './reservation-handlers.ts'

/** What there is, by path and method. openapi.json describes each, and a test holds both against each other. */
export const ROUTES: ReadonlyMap<string, Readonly<Record<string, Handler>>> = new Map<string, Record<string, Handler>>([
  [PATHS.leases, { GET: inspect.leases, POST: lease.allocate }],
  [PATHS.release, { POST: lease.release }],
  [PATHS.collect, { POST: lease.collect }],
  [PATHS.pools, { GET: inspect.pools }],
  [PATHS.blocks, { GET: inspect.blocks }],
  [PATHS.podCidrs, { GET: podCidrs, PUT: handOverPodCidrs }],
  [PATHS.grants, { POST: grant }],
  [PATHS.endGrants, { POST: endGrants }],
  [PATHS.history, { GET: inspect.history }],
  [PATHS.events, { GET: inspect.events }],
  [PATHS.status, { GET: lease.status }],
  [PATHS.reconcile, { POST: reconcile }],
  [PATHS.check, { GET: check }],
  [PATHS.reservations, { GET: reservations, POST: reserve }],
  [PATHS.endReservation, { POST: endReservation }],
  [PATHS.backup, { POST: backup }],
  [PATHS.cni, { POST: serveCni }],
  [PATHS.served, { GET: served }],
  [PATHS.openapi, { GET: inspect.openapi }],
  [PATHS.metrics, { GET: inspect.metrics }],
  [PATHS.health, { GET: inspect.health }],
  [PATHS.readiness, { GET: inspect.readiness }],
])

/** @throws {IpamProblem} not-found, or method-not-allowed with the methods there are. */
export function findHandler(method: string, path: string): Handler {
  const methods = ROUTES.get(path)
  if (methods === undefined) throw new IpamProblem('not-found', `no resource ${quoteText(path)}`)
  const handler = Object.hasOwn(methods, method) ? methods[method] : undefined
  if (handler !== undefined) return handler
  const allow = Object.keys(methods).join(', ')
  throw new IpamProblem('method-not-allowed', `${path} has no method ${method}: want ${allow}`, { members: { allow } })
}
