import { rm } from 'node:fs/promises'
import { openLinuxKernel } from '../../lib/kernel/linux-kernel.ts'
import { openLinuxNodeKernel } from '../../lib/kernel/linux-node-kernel.ts'
import { deleteNftTable } from '../../lib/kernel/node-nftables.ts'
import type { Log } from '../../lib/log/json-log.ts'
import { LINK_GROUP, NODE_ROUTE_METRIC, NODE_ROUTE_PROTOCOL } from '../../lib/plan/marks.ts'
import { isErrno } from '../../lib/plan/kernel.ts'
import type { NodeLink } from '../../lib/plan/node-kernel.ts'
import { Deadline } from '../../lib/time/deadline.ts'
import type { NativeAddon } from '../../native/addon.ts'
import type { InstallConfig } from '../config.ts'
import { OVERLAY_LINK } from '../desired/desired.ts'
import { removeBinaries } from './install-binaries.ts'
import { removeConflist } from './install-conflist.ts'

const KERNEL_TIMEOUT_MS = 30_000

export interface UninstallOptions {
  readonly addon: NativeAddon
  readonly install: InstallConfig | undefined
  /** Folders that go too: what ipamd has stored. */
  readonly purge: readonly string[]
  readonly log: Log
}

/**
 * Takes everything of Tulle off the node: the conflist first, so that no pod starts meanwhile, then what is ours in the kernel,
 * then the executables. Pods that still run lose their network. What is not there is gone; what others made stays (invariant 4).
 *
 * Everything is tried; @throws {AggregateError} with what refused to go.
 */
export async function uninstall({ addon, install, purge, log }: UninstallOptions): Promise<void> {
  const failures: unknown[] = []
  const attempt = async (what: string, step: () => Promise<void> | void): Promise<void> => {
    try {
      await step()
      log.info('removed', { what })
    } catch (error) {
      log.error('not removed', { what, error })
      failures.push(error)
    }
  }
  if (install !== undefined) await attempt('conflist', () => removeConflist(install.conflistTo))
  await attempt('links of pods', () => removePodLinks(addon))
  await attempt('routes to pods of this node', () => removePodRoutes(addon))
  await attempt('routes to other nodes, and the VXLAN device', () => removeNodeRoutes(addon))
  await attempt('nftables table', () => deleteNftTable(addon, Deadline.in(KERNEL_TIMEOUT_MS)))
  if (install !== undefined) {
    await attempt('executables', () => removeBinaries({ from: install.binFrom, to: install.binTo }))
  }
  for (const folder of purge) await attempt(folder, () => rm(folder, { recursive: true, force: true }))
  if (failures.length > 0) throw new AggregateError(failures, `${failures.length} things of Tulle are still there`)
}

async function removePodLinks(addon: NativeAddon): Promise<void> {
  using kernel = openLinuxKernel(addon, { exchange: 'async' })
  const by = Deadline.in(KERNEL_TIMEOUT_MS)
  for (const { name } of await kernel.observeOwnLinks(by)) {
    try {
      await kernel.apply({ do: 'delete-link', at: 'host', link: name }, by)
    } catch (error) {
      if (!isErrno(error, 'ENODEV')) throw error
    }
  }
}

async function removePodRoutes(addon: NativeAddon): Promise<void> {
  using kernel = openLinuxKernel(addon, { exchange: 'async' })
  const by = Deadline.in(KERNEL_TIMEOUT_MS)
  // Those through a link went with it.
  for (const { to, linkIndex } of await kernel.observeOwnRoutes(by)) {
    if (linkIndex !== undefined) continue
    try {
      await kernel.apply({ do: 'delete-unreachable', block: to }, by)
    } catch (error) {
      if (!isErrno(error, 'ESRCH')) throw error
    }
  }
}

async function removeNodeRoutes(addon: NativeAddon): Promise<void> {
  using kernel = openLinuxNodeKernel(addon)
  const by = Deadline.in(KERNEL_TIMEOUT_MS)
  const { routes, links } = await kernel.observe(by)
  const ours = routes.filter(({ protocol, metric }) => protocol === NODE_ROUTE_PROTOCOL && metric === NODE_ROUTE_METRIC)
  const failures = await kernel.applyAll(
    [
      ...ours.map(({ to }) => ({ do: 'delete-node-route', to }) as const),
      ...links.filter(isOverlay).map(({ name }) => ({ do: 'delete-link', at: 'host', link: name }) as const),
    ],
    by,
  )
  if (failures.length > 0) throw new AggregateError(failures.map(({ error }) => error))
}

/** Another link of that name is somebody else's. */
function isOverlay({ name, group }: NodeLink): boolean {
  return name === OVERLAY_LINK && group === LINK_GROUP
}
