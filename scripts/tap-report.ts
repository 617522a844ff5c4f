/** What a run of tap counted: assertions. */
export interface Totals {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

/** A test, or a whole file, that was left out. */
export interface Skip {
  readonly file: string
  readonly title: string
  readonly reason: string
  /** True when the reason says what the machine lacks. Any other skip is a hole in the net. */
  readonly isExcused: boolean
}

/** What failed. */
export interface Failure {
  readonly file: string
  /** The titles from the outermost test to the assertion; empty when it is the file itself that ended badly. */
  readonly title: string
}

/**
 * Reads tap's own totals, the line `# { total: 9, pass: 7, fail: 1, skip: 1 }` of the outermost level.
 *
 * @returns one failure when there is no such line: a run that did not come to its end proves nothing.
 */
export function parseTotals(tap: string): Totals {
  const line = tap.split('\n').findLast(text => /^# \{ total: \d+/.test(text))
  if (line === undefined) return { passed: 0, failed: 1, skipped: 0 }
  return {
    passed: countIn(line, 'pass'),
    failed: countIn(line, 'fail'),
    skipped: countIn(line, 'skip') + countIn(line, 'todo'),
  }
}

/** Finds what was skipped or left to do, at every level. */
export function parseSkips(tap: string): readonly Skip[] {
  let file = ''
  const skips: Skip[] = []
  for (const line of tap.split('\n')) {
    file = /^# Subtest: (.+)$/.exec(line)?.[1] ?? file
    const match = /^ *(?:not )?ok \d+ - (.*?) # (?:SKIP|TODO) ?(.*)$/.exec(line)
    if (match === null) continue
    const [, title = '', reason = ''] = match
    skips.push({ file, title, reason, isExcused: /\bthis machine\b|\bhere\b/.test(reason) })
  }
  return skips
}

export function renderSkip({ file, title, reason, isExcused }: Skip): string {
  const what = title === file ? file : `${file}: ${title}`
  const verdict = isExcused ? '' : ' (fails: a skip has to say what this machine lacks)'
  return `SKIPPED ${what}: ${reason === '' ? 'no reason' : reason}${verdict}`
}

/** Finds what failed: an assertion, a test that threw or took too long, a file that ended badly; each once, innermost first. */
export function parseFailures(tap: string): readonly Failure[] {
  const failures: Failure[] = []
  /** Those whose parents' lines, which come after them, have not been seen yet; by depth. */
  let open: { readonly depth: number; readonly titles: readonly string[] }[] = []
  for (const line of tap.split('\n')) {
    const [, indent, rest] = /^( *)not ok \d+ - (.*)$/.exec(line) ?? []
    if (indent === undefined || rest === undefined) continue
    const depth = indent.length / 4
    const title = rest.replace(/ # time=\S+$/, '')
    const inside = open.filter(failure => failure.depth > depth)
    const titles = inside.length === 0 ? [[title]] : inside.map(failure => [title, ...failure.titles])
    open = [...open.filter(failure => failure.depth <= depth), ...titles.map(path => ({ depth, titles: path }))]
    if (depth > 0) continue
    for (const {
      titles: [file = '', ...path],
    } of open)
      failures.push({ file, title: path.join(' > ') })
    open = []
  }
  return failures
}

/** One line for each file and title. */
export function renderFailures(failures: readonly Failure[]): readonly string[] {
  return [...new Set(failures.map(({ file, title }) => `FAILED ${title === '' ? file : `${file}: ${title}`}`))]
}

/** The last line of every test command, for people and for .ci/run. */
export function renderTotals({ passed, failed, skipped }: Totals): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}

function countIn(line: string, word: string): number {
  return Number(new RegExp(`\\b${word}: (\\d+)`).exec(line)?.[1] ?? 0)
}
