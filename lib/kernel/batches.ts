import { placeOf, type Operation, type Plan } from '../plan/operation.ts'

/** Operations that are done in one go: of one kind, at one place, and none of them makes or ends a link. */
export type Batch = readonly [Operation, ...Operation[]]

/**
 * What may stand in one message with others. An operation that makes a link is not among them: those after it need the link's
 * index. Whatever else is added to Operation goes alone until somebody has thought about it.
 */
const ROUTE_OPERATIONS: ReadonlySet<Operation['do']> = new Set<Operation['do']>([
  'set-link',
  'disable-link-local',
  'add-bridge-port',
  'add-forwarding',
  'set-bridge-port',
  'add-shaper',
  'redirect-ingress',
  'add-address',
  'delete-address',
  'set-neighbour',
  'delete-neighbour',
  'add-route',
  'delete-route',
])

/** The kernel answers each operation, and the answers of a batch have to fit the socket's buffer. */
const MAX_BATCH = 64

/** Splits a plan into what can be done in one go, in order. */
export function batchesOf(plan: Plan): readonly Batch[] {
  const batches: [Operation, ...Operation[]][] = []
  for (const operation of plan) {
    const last = batches.at(-1)
    const isTogether = last !== undefined && last.length < MAX_BATCH && channelOf(last[0]) === channelOf(operation)
    if (isTogether && channelOf(operation) !== undefined) last.push(operation)
    else batches.push([operation])
  }
  return batches
}

/** What operations have in common that go together; undefined for one that goes alone. */
function channelOf(operation: Operation): string | undefined {
  if (operation.do === 'set-sysctl') return `sysctl ${operation.at}`
  return ROUTE_OPERATIONS.has(operation.do) ? `route ${placeOf(operation)}` : undefined
}
