import { randomUUID } from 'node:crypto'
import type { KubeClient } from '../lib/kube/kube-client.ts'
import { Deadline } from '../lib/time/deadline.ts'

const ANSWER_TIMEOUT_MS = 10_000
/** What the API server takes of a message. */
const MAX_MESSAGE_LENGTH = 1024

export interface NodeEvent {
  readonly type: 'Normal' | 'Warning'
  readonly reason: string
  readonly message: string
}

/** Writes an event about this node (core/v1 Event), where `kubectl describe node` shows it. @throws {KubeError} */
export async function writeEvent(
  client: KubeClient,
  node: { readonly name: string; readonly uid: string },
  { type, reason, message }: NodeEvent,
): Promise<void> {
  const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z')
  const namespace = 'default'
  await client.ask(
    {
      method: 'POST',
      path: `/api/v1/namespaces/${namespace}/events`,
      body: {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { name: `${node.name}.tulle.${randomUUID()}`, namespace },
        involvedObject: { apiVersion: 'v1', kind: 'Node', name: node.name, uid: node.uid },
        type,
        reason,
        message: message.slice(0, MAX_MESSAGE_LENGTH),
        source: { component: 'tulle-agent', host: node.name },
        firstTimestamp: now,
        lastTimestamp: now,
        count: 1,
      },
    },
    Deadline.in(ANSWER_TIMEOUT_MS),
  )
}
