import { Fields } from '../../lib/ipam/fields.ts'
import { parseEmptyQuery } from '../../lib/ipam/inspection.ts'
import { IpamProblem } from '../../lib/ipam/errors.ts'
import { checkReplyToWire, parseReconcileQuery, reconcileReplyToWire } from '../../lib/ipam/reconcile.ts'
import type { Reconciler } from '../reconcile/reconciler.ts'
import type { Input, Subjects } from './handler.ts'
import { jsonReply, type Reply } from './reply.ts'

/** One turn of the reconciler, now; with `dryRun=true` only what it would do. */
export async function reconcile({ reconciler }: Subjects, { body, query }: Input): Promise<Reply> {
  const dryRun = parseReconcileQuery(query)
  Fields.of(body, 'request').only([])
  return jsonReply(reconcileReplyToWire(await present(reconciler).run({ dryRun })))
}

/** The store against the kernel, in both directions. */
export async function check({ reconciler }: Subjects, { query }: Input): Promise<Reply> {
  parseEmptyQuery(query)
  return jsonReply(checkReplyToWire(await present(reconciler).check()))
}

function present(reconciler: Reconciler | undefined): Reconciler {
  if (reconciler === undefined) throw new IpamProblem('not-found', 'this daemon does not look at the kernel')
  return reconciler
}
