/** Of fewer samples the median and the worst are chance. */
const FEW = 20

/** What keeps the figures of a run from meaning what they seem to, a sentence each in Markdown. */
export function doubts(run: DoubtfulRun): readonly string[] {
  // What the bench itself does is a load too: it keeps one processor busy, and all of them for moments.
  const isBusy = run.loads.some(load => load > 2 * run.cores)
  return [
    ...(isBusy ? ['**The machine was busy with other work: wall times and rates say little.**'] : []),
    ...(run.pods !== undefined && run.pods < FEW ? ['**So few samples are no measure of the goals.**'] : []),
  ]
}

export interface DoubtfulRun {
  /** One minute's, at the start and at the end. */
  readonly loads: readonly number[]
  readonly cores: number
  /** How many pods were measured, where that is what there could be too few of. */
  readonly pods?: number
}
