import type { AttachRun, Sample, Series } from './samples.ts'

/** A series of one pod, for tests: what is not named is as plain as it can be. */
export function series(of: Pick<Series, 'contender' | 'verb'> & Partial<Series>): Series {
  const wallMs = of.wallMs ?? [1]
  return {
    kind: 'calls',
    hasPort: false,
    standing: 0,
    atOnce: 1,
    wallMs,
    cpuMs: wallMs.map(() => 0),
    wholeMs: wallMs.reduce((sum, each) => sum + each, 0),
    daemonCpuMs: 0,
    residentKib: 1024,
    failed: 0,
    ...of,
  }
}

export function runOf(samples: readonly Sample[], more: Partial<AttachRun> = {}): AttachRun {
  return {
    format: 'bench-attach/2',
    startedAt: '2026-11-25T20:00:00.000Z',
    endedAt: '2026-11-25T20:12:00.000Z',
    machine: { cpu: 'Some CPU', cores: 2, memoryMiB: 4096, kernel: '6.18', node: 'v26.10.0' },
    loadAtStart: [0.1],
    loadAtEnd: 1.5,
    versions: ['kindnet chain: v1'],
    options: { pods: 40, warmUpPods: 25 },
    skipped: [],
    samples,
    ...more,
  }
}
