import { Fields } from '../lib/ipam/fields.ts'
import type { KubeClient } from '../lib/kube/kube-client.ts'
import { Deadline } from '../lib/time/deadline.ts'

const ANSWER_TIMEOUT_MS = 10_000

/** A condition of this node's Node object (core/v1 NodeCondition). */
export interface NodeCondition {
  readonly type: string
  readonly status: 'True' | 'False'
  readonly reason: string
  readonly message: string
}

/**
 * Writes conditions into the Node object, those that are other than they are there. Other people's conditions are not touched:
 * a strategic merge patch finds each by its type.
 *
 * @throws {KubeError}
 */
export async function writeConditions(
  client: KubeClient,
  nodeName: string,
  wanted: readonly NodeCondition[],
): Promise<void> {
  const by = Deadline.in(ANSWER_TIMEOUT_MS)
  const path = `/api/v1/nodes/${encodeURIComponent(nodeName)}`
  const node = Fields.of(await client.ask({ method: 'GET', path }, by), 'node')
  const there = node.optionalObject('status')?.optionalList('conditions', (item, at) => Fields.of(item, at)) ?? []
  const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z')
  const changed = wanted.flatMap(condition => {
    const before = there.find(fields => fields.optionalString('type') === condition.type)
    if (before !== undefined && isSame(before, condition)) return []
    const isTransition = before?.optionalString('status') !== condition.status
    const since = isTransition ? now : (before?.optionalString('lastTransitionTime') ?? now)
    return [{ ...condition, lastHeartbeatTime: now, lastTransitionTime: since }]
  })
  if (changed.length === 0) return
  await client.ask(
    {
      method: 'PATCH',
      path: `${path}/status`,
      contentType: 'application/strategic-merge-patch+json',
      body: { status: { conditions: changed } },
    },
    by,
  )
}

function isSame(before: Fields, { status, reason, message }: NodeCondition): boolean {
  return (
    before.optionalString('status') === status &&
    before.optionalString('reason') === reason &&
    before.optionalString('message') === message
  )
}
