import { type Check, type Need, NotApplicable, Unmet, type Verdict } from './check.ts'
import { Node } from './node.ts'
import { type Outcome, describeOutcome } from './outcome.ts'
import { Stage } from './stage.ts'
import type { Subject } from './subject.ts'
import type { Step } from './transcript.ts'

/** What one check said of a subject. */
export interface Finding {
  readonly id: Check['id']
  readonly basis: Check['basis']
  readonly source: string
  readonly expected: string
  readonly verdict: Verdict
  /** Why it is not applicable, or what was seen that is not as expected. */
  readonly seen: readonly string[]
  /** For what is not as expected: how to see it again. */
  readonly steps: readonly Step[]
  readonly tookMs: number
}

export interface SuiteOptions {
  readonly checks: readonly Check[]
  /** Called after each check. */
  readonly onFinding?: (finding: Finding) => void
}

/**
 * Holds a plugin against the checks, one after another, in namespaces of their own.
 *
 * @throws {Error} when the node cannot be prepared: then nothing is said of the plugin.
 */
export async function runSuite(subject: Subject, { checks, onFinding }: SuiteOptions): Promise<readonly Finding[]> {
  const journal: Outcome[] = []
  const findings: Finding[] = []
  let node: Node | undefined
  try {
    for (const check of checks) {
      node ??= await freshNode(subject)
      const { finding, isNodeSpent } = await runCheck(check, { subject, node, journal })
      findings.push(finding)
      onFinding?.(finding)
      if (!isNodeSpent) continue
      await node[Symbol.asyncDispose]()
      node = undefined
    }
  } finally {
    await node?.[Symbol.asyncDispose]()
  }
  return findings
}

/**
 * A node on which a container has come and gone: what the first ADD makes for the node, a bridge or forwarding, is there for good
 * and no leak.
 *
 * @throws {Error} when that ADD fails: of a network that does not work at all nothing can be said.
 */
async function freshNode(subject: Subject): Promise<Node> {
  const node = await Node.create(subject)
  try {
    await using stage = new Stage(subject, node, [])
    const pod = await stage.pod()
    const { isSuccess, decisive } = await stage.runtime.add(pod.attachment)
    if (!isSuccess) throw new Error(`this network does not work: ${describeOutcome(decisive)}`)
  } catch (cause) {
    await node[Symbol.asyncDispose]()
    throw cause
  }
  await node.declareClean()
  return node
}

interface Place {
  readonly subject: Subject
  readonly node: Node
  readonly journal: Outcome[]
}

async function runCheck(
  check: Check,
  { subject, node, journal }: Place,
): Promise<{ finding: Finding; isNodeSpent: boolean }> {
  const startedAtMs = performance.now()
  const stage = new Stage(subject, node, journal)
  const unmet = (check.needs ?? []).map(need => whyNot(need, stage)).find(why => why !== undefined)
  const reason = unmet ?? (await play(check, stage))
  const isLooked = unmet === undefined && !stage.isNodeSpent
  const left = isLooked ? await node.leftovers() : []
  const isTold = check.leftoversAskedBy !== undefined || stage.problems.some(text => text.startsWith('left behind'))
  if (left.length > 0 && !isTold) stage.problems.push(`left behind: ${left.join(', ')}`)
  journal.push(...stage.outcomes)

  const verdict = verdictOf(check, { problems: stage.problems, reason })
  const isBad = verdict === 'fail' || verdict === 'differs'
  const { id, basis, source, expected } = check
  const finding: Finding = {
    id,
    basis,
    source,
    expected,
    verdict,
    seen: isBad ? stage.problems : reason === undefined ? [] : [reason],
    steps: isBad ? [...node.steps, ...stage.transcript.steps] : [],
    tookMs: Math.round(performance.now() - startedAtMs),
  }
  return { finding, isNodeSpent: stage.isNodeSpent || left.length > 0 }
}

function verdictOf(
  { basis }: Check,
  { problems, reason }: { readonly problems: readonly string[]; readonly reason: string | undefined },
): Verdict {
  if (problems.length > 0) return basis === 'our-reading' ? 'differs' : 'fail'
  return reason === undefined ? 'pass' : 'not-applicable'
}

/** Plays a check to its end, and takes away what it made. @returns why it cannot be applied, when that has shown. */
async function play(check: Check, stage: Stage): Promise<string | undefined> {
  try {
    await using _ = stage
    await check.run(stage)
  } catch (cause) {
    if (cause instanceof NotApplicable) return cause.message
    // The plugin may have done anything to the namespaces; what the suite could not do there is told, not swallowed.
    stage.problems.push(cause instanceof Unmet ? cause.message : `the check came to no end: ${describe(cause)}`)
    stage.isNodeSpent ||= !(cause instanceof Unmet)
  }
  return undefined
}

function describe(cause: unknown): string {
  return cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)
}

/** Why a subject cannot be asked what `need` is for; `undefined` when it can. */
function whyNot(need: Need, { subject, runtime, ipam, ifName }: Stage): string | undefined {
  switch (need) {
    case 'CHECK':
      return runtime.hasVerb(need) ? undefined : `cniVersion ${runtime.list.cniVersion} has no CHECK`
    case 'GC':
    case 'STATUS':
      return runtime.hasVerb(need) ? undefined : `cniVersion ${runtime.list.cniVersion} has no ${need}`
    case 'ipam':
      return ipam === undefined ? 'the plugin delegates no IPAM' : undefined
    case 'interface':
      return ifName === 'lo' ? 'the plugin makes no interface: lo is always there' : undefined
    case 'addresses':
      return ifName === 'lo' ? 'the plugin gives no addresses of a network' : undefined
    case 'reference-plugins':
      return subject.referencePath.length === 0 ? 'no reference plugins were given' : undefined
    case 'exhaustible':
      return subject.exhaustible === undefined ? 'no small network was given' : undefined
    case 'outage':
      return subject.outage === undefined ? 'no outage was given' : undefined
  }
}
