import t from 'tap'
import { axisEnd, renderBarChart, type Bar } from './bar-chart.ts'

const bar = (value: number, more: Partial<Bar> = {}): Bar => ({
  label: `bar ${value}`,
  value,
  text: String(value),
  colour: 0,
  ...more,
})

/** The widths of the bars, from top to bottom. */
function widthsIn(svg: string): readonly number[] {
  return [...svg.matchAll(/<rect [^>]*width="([\d.]+)"/g)].map(([, width]) => Number(width))
}

function chartOf(...bars: readonly Bar[]): string {
  return renderBarChart({ title: 'A chart', unit: 'ms', groups: [{ title: 'A group', bars }] })
}

t.test('axisEnd() is a number whose quarters are easy to read, and no less than the largest value', async t => {
  const cases = [
    [0, 1],
    [1, 1],
    [1.01, 2],
    [2.2, 2.5],
    [3, 4],
    [41, 50],
    [81, 100],
    [7_200, 8_000],
    [0.033, 0.04],
  ] as const
  for (const [value, want] of cases) t.equal(axisEnd(value).toPrecision(6), want.toPrecision(6), String(value))
})

t.test('renderBarChart() draws bars in proportion, each group on an axis of its own', async t => {
  const groups = [
    { title: 'small', bars: [bar(1), bar(2)] },
    { title: 'large', bars: [bar(1_000), bar(2_000)] },
  ]
  const [one = 0, two = 0, thousand = 0, most = 0] = widthsIn(renderBarChart({ title: 'x', unit: 'ms', groups }))
  t.ok(Math.abs(two - 2 * one) < 1)
  t.equal(thousand, one)
  t.equal(most, two)
})

t.test('renderBarChart() shows something of a value that is too small to be seen', async t => {
  t.strictSame(widthsIn(chartOf(bar(0.01), bar(1_000)))[0], 1)
})

t.test('renderBarChart() marks the larger value, and leaves room for it on the axis', async t => {
  const svg = chartOf(bar(10, { upTo: 39 }), bar(20))
  t.equal(svg.match(/class="upto"/g)?.length, 2)
  t.match(svg, />40<\/text>/, 'the axis ends at 40')
  t.notMatch(chartOf(bar(10, { upTo: 10 })), /class="upto"/, 'none where the two are one')
})

t.test('renderBarChart() keeps everything inside of the drawing', async t => {
  const svg = chartOf(bar(100, { upTo: 100 }), bar(3))
  const [, width = 0, height = 0] = (/viewBox="0 0 (\d+) (\d+)"/.exec(svg) ?? []).map(Number)
  for (const [, x] of svg.matchAll(/ x[12]?="([\d.]+)"/g)) t.ok(Number(x) < width - 40, `x ${x}`)
  for (const [, y] of svg.matchAll(/ y[12]?="([\d.]+)"/g)) t.ok(Number(y) < height, `y ${y}`)
})

t.test('renderBarChart() says what it shows to who cannot see it, and has colours for dark pages', async t => {
  const svg = renderBarChart({ title: 'A & B <c>', unit: 'ms', groups: [] })
  t.match(svg, /role="img" aria-label="A &amp; B &lt;c&gt;"/)
  t.match(svg, /<title>A &amp; B &lt;c&gt;<\/title>/)
  t.match(svg, /prefers-color-scheme: dark/)
})

t.test('renderBarChart() writes labels and texts as text, whatever is in them', async t => {
  const svg = chartOf(bar(1, { label: '<script>', text: '"5" & 6' }))
  t.match(svg, /&lt;script&gt;/)
  t.match(svg, /&quot;5&quot; &amp; 6/)
  t.notMatch(svg, /<script>/)
})
