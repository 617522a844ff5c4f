import { join } from 'node:path'
import { runCommand } from './command.ts'
import type { Command } from './command.ts'
import { HELM, goTool } from './go.ts'
import { KUBERNETES_VERSION } from './kubernetes.ts'

/** The chart that users install. */
const CHART = join(import.meta.dirname, '..', '..', 'deploy', 'helm', 'tulle')
/** Compiled without its release's linker flags, helm takes every cluster for one of 1.20. */
const FOR_CLUSTER = ['--kube-version', KUBERNETES_VERSION]

/** Values of the chart as they stand in a file of values. */
export type ChartValues = Readonly<Record<string, unknown>>

export interface ChartOptions {
  readonly namespace: string
  readonly values?: ChartValues
}

/**
 * What `helm install tulle deploy/helm/tulle` would apply, as a stream of YAML documents.
 *
 * @throws {GoMissing} when the machine has no Go that could build helm.
 * @throws {CommandError} with the words of helm, when the chart refuses the values.
 */
export async function renderChart(options: ChartOptions): Promise<string> {
  return await helm(['template', 'tulle', CHART, ...FOR_CLUSTER], options)
}

/** Has helm look the chart over. @returns what it said. Failures as `renderChart()`; a warning is one. */
export async function lintChart(options: ChartOptions): Promise<string> {
  return await helm(['lint', '--strict', CHART, ...FOR_CLUSTER], options)
}

async function helm(args: readonly string[], { namespace, values = {} }: ChartOptions): Promise<string> {
  const command: Command = [await goTool(HELM), ...args, '--namespace', namespace, '--values', '-']
  return await runCommand(command, { stdin: JSON.stringify(values) })
}
