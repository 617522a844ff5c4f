import { appendFile } from 'node:fs/promises'
import type { Test } from 'tap'
import { FIGURES_VARIABLE } from './variables.ts'

/** Something that was measured on the cluster. */
export interface Figure {
  readonly what: string
  readonly valueMs: number
  /** What it should be at most. Missing it fails no test: machines are busy. */
  readonly goalMs?: number
}

/** Tells a figure to who runs the suite; `npm run e2e` shows all of them at its end. */
export async function tellFigure(t: Test, figure: Figure): Promise<void> {
  t.comment(renderFigure(figure))
  const file = process.env[FIGURES_VARIABLE]
  if (file !== undefined) await appendFile(file, `${JSON.stringify(figure)}\n`)
}

export function renderFigure({ what, valueMs, goalMs }: Figure): string {
  const goal = goalMs === undefined ? '' : ` (goal: ${seconds(goalMs)} s)`
  return `${what}: ${seconds(valueMs)} s${goal}`
}

function seconds(ms: number): string {
  return (ms / 1000).toFixed(ms < 100 ? 3 : 2)
}
