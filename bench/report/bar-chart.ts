/** A bar with, where there is one, a mark at a larger value of the same samples. */
export interface Bar {
  readonly label: string
  readonly value: number
  /** Drawn as a line with an end: the 99th percentile, where `value` is the median. */
  readonly upTo?: number
  /** The number in words; it stands behind the bar. */
  readonly text: string
  /** Which of the colours, from 0. */
  readonly colour: number
}

export interface BarGroup {
  readonly title: string
  readonly bars: readonly Bar[]
}

export interface BarChart {
  readonly title: string
  /** Stands below the axis of each group. */
  readonly unit: string
  readonly groups: readonly BarGroup[]
}

const WIDTH = 760
const LABEL_WIDTH = 130
/** Room for the text behind the longest bar. */
const TEXT_WIDTH = 130
const PLOT_WIDTH = WIDTH - LABEL_WIDTH - TEXT_WIDTH
const ROW = 20
const BAR = 13
const HEAD = 34
const GROUP_HEAD = 26
const AXIS = 26
const TICKS = 4
/** Of like lightness, and told apart also by those who see few colours (Okabe and Ito); grey is what others are held against. */
const COLOURS = ['#0072b2', '#56b4e9', '#d55e00', '#e69f00', '#cc79a7', '#8a8a8a'] as const

/**
 * Draws a chart of horizontal bars as an SVG document; each group has an axis of its own. Legible on white and on black: the
 * text has a colour for each, which the reader's own preference selects.
 */
export function renderBarChart({ title, unit, groups }: BarChart): string {
  let y = HEAD
  const drawn = groups.map(group => {
    const part = drawGroup(group, unit, y)
    y += heightOf(group)
    return part
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}" role="img" aria-label="${escaped(title)}">`,
    `<title>${escaped(title)}</title>`,
    STYLE,
    `<text class="title" x="0" y="18">${escaped(title)}</text>`,
    ...drawn,
    '</svg>',
    '',
  ].join('\n')
}

const STYLE = `<style>
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.title { font-size: 15px; font-weight: 600; } .group { font-weight: 600; } .tick { font-size: 10px; fill: #6e7781; }
.grid { stroke: #8c959f; stroke-opacity: .35; } .upto { stroke: #57606a; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .tick { fill: #9198a1; } .upto { stroke: #b1bac4; } }
</style>`

function heightOf({ bars }: BarGroup): number {
  return GROUP_HEAD + bars.length * ROW + AXIS
}

function drawGroup({ title, bars }: BarGroup, unit: string, top: number): string {
  const ends = axisEnd(Math.max(0, ...bars.map(({ value, upTo = 0 }) => Math.max(value, upTo))))
  const x = (value: number): number => LABEL_WIDTH + rounded((value / ends) * PLOT_WIDTH)
  const first = top + GROUP_HEAD
  const bottom = first + bars.length * ROW
  const ticks = Array.from({ length: TICKS + 1 }, (_, index) => (ends * index) / TICKS)
  return [
    `<text class="group" x="0" y="${top + 15}">${escaped(title)}</text>`,
    ...ticks.flatMap(tick => [
      `<line class="grid" x1="${x(tick)}" y1="${first - 3}" x2="${x(tick)}" y2="${bottom}"/>`,
      `<text class="tick" x="${x(tick)}" y="${bottom + 12}" text-anchor="middle">${tickText(tick)}</text>`,
    ]),
    `<text class="tick" x="${LABEL_WIDTH + PLOT_WIDTH + 26}" y="${bottom + 12}">${escaped(unit)}</text>`,
    ...bars.map((bar, index) => drawBar(bar, first + index * ROW, x)),
  ].join('\n')
}

function drawBar({ label, value, upTo, text, colour }: Bar, top: number, x: (value: number) => number): string {
  const [zero, end, middle] = [x(0), x(value), top + BAR / 2 + 1]
  const far = upTo === undefined || upTo <= value ? end : x(upTo)
  const mark =
    far === end
      ? []
      : [
          `<line class="upto" x1="${end}" y1="${middle}" x2="${far}" y2="${middle}"/>`,
          `<line class="upto" x1="${far}" y1="${top + 3}" x2="${far}" y2="${top + BAR - 1}"/>`,
        ]
  return [
    `<text x="${LABEL_WIDTH - 8}" y="${top + 12}" text-anchor="end">${escaped(label)}</text>`,
    `<rect x="${zero}" y="${top + 1}" width="${Math.max(1, rounded(end - zero))}" height="${BAR}" fill="${COLOURS[colour % COLOURS.length]}"/>`,
    ...mark,
    `<text x="${rounded(far + 6)}" y="${top + 12}">${escaped(text)}</text>`,
  ].join('\n')
}

/** The least of 1, 2, 2.5, 4, 5, 8 and 10 times a power of ten that is not less than `value`: its quarters are easy to read. */
export function axisEnd(value: number): number {
  if (!(value > 0)) return 1
  const power = 10 ** Math.floor(Math.log10(value))
  const found = [1, 2, 2.5, 4, 5, 8].find(step => step * power >= value)
  return (found ?? 10) * power
}

function tickText(value: number): string {
  return Number(value.toPrecision(3)).toLocaleString('en-US')
}

function rounded(value: number): number {
  return Math.round(value * 10) / 10
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}
