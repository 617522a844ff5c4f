import { join } from 'node:path'
import type { ClusterProvider } from '../../cluster/provider.ts'
import { runCommand } from '../../parts/command.ts'
import type { CommandOptions } from '../../parts/command.ts'
import { kubernetesParts } from '../../parts/kubernetes.ts'

/** Runs kubectl as the administrator: for what users are told to type. @returns its output. @throws {CommandError} */
export async function kubectl(
  { kubeconfigFile }: ClusterProvider,
  args: readonly string[],
  options: Pick<CommandOptions, 'stdin' | 'timeoutMs'> = {},
): Promise<string> {
  const program = join(await kubernetesParts(), 'kubectl')
  return await runCommand([program, '--kubeconfig', kubeconfigFile, ...args], options)
}
