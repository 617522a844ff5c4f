import type { Labels, Metric, Sample } from './exposition.ts'

interface Description {
  readonly name: string
  readonly help: string
}

/** A number that only rises, one for each set of labels. Callers give labels of a bounded number of values. */
export class Counter {
  readonly #description: Description
  readonly #values = new Map<string, { readonly labels: Labels; value: number }>()

  constructor(description: Description) {
    this.#description = description
  }

  add(labels: Labels = {}, by = 1): void {
    const key = JSON.stringify(labels)
    const known = this.#values.get(key)
    if (known === undefined) this.#values.set(key, { labels, value: by })
    else known.value += by
  }

  read(): Metric {
    return { ...this.#description, type: 'counter', samples: [...this.#values.values()] }
  }
}

/** How often a measured value was at most each bound. */
export class Histogram {
  readonly #description: Description
  readonly #bounds: readonly number[]
  readonly #counts: number[]
  #count = 0
  #sum = 0

  /** @param bounds upper bounds, rising, without the infinite one. */
  constructor(description: Description, bounds: readonly number[]) {
    this.#description = description
    this.#bounds = bounds
    this.#counts = bounds.map(() => 0)
  }

  observe(value: number): void {
    this.#count += 1
    this.#sum += value
    const index = this.#bounds.findIndex(bound => value <= bound)
    if (index !== -1) this.#counts[index] = (this.#counts[index] ?? 0) + 1
  }

  read(): Metric {
    let below = 0
    const buckets = this.#bounds.map((bound, index): Sample => {
      below += this.#counts[index] ?? 0
      return { suffix: '_bucket', labels: { le: String(bound) }, value: below }
    })
    const samples: Sample[] = [
      ...buckets,
      { suffix: '_bucket', labels: { le: '+Inf' }, value: this.#count },
      { suffix: '_sum', labels: {}, value: this.#sum },
      { suffix: '_count', labels: {}, value: this.#count },
    ]
    return { ...this.#description, type: 'histogram', samples }
  }
}

/** A value that is read when it is asked for. */
export function gauge(description: Description, samples: readonly Sample[]): Metric {
  return { ...description, type: 'gauge', samples }
}
