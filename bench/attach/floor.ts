import { randomBytes } from 'node:crypto'
import type { Netns } from '../../e2e/netns/harness/namespace.ts'
import { KernelHost } from '../../lib/kernel/kernel-host.ts'
import { openLinuxKernelIn } from '../../lib/kernel/linux-kernel.ts'
import { parseAddress } from '../../lib/net/address.ts'
import { parseIfName } from '../../lib/net/if-name.ts'
import { planExposure, planWithdrawal, elementsOf, rulesetsOf, type Exposure } from '../../lib/plan/exposure.ts'
import { hostIfNameOf, macOf } from '../../lib/plan/link-names.ts'
import type { Plan } from '../../lib/plan/operation.ts'
import { planAttach } from '../../lib/plan/plan-attach.ts'
import { NODE_RULESET } from '../../lib/plan/ruleset.ts'
import { Deadline } from '../../lib/time/deadline.ts'
import type { NativeAddon } from '../../native/addon.ts'
import { FLOOR } from '../report/contenders.ts'
import type { Series } from '../report/samples.ts'

const STEP_MS = 10_000

interface Spent {
  wallMs: number
  cpuMs: number
}

/**
 * What the kernel itself costs: the messages that Tulle sends it for an ADD and a DEL, from one process, over sockets that are
 * open. Of ADD only the time within the calls of the addon counts, each of which is a few system calls; DEL ends when the kernel
 * says that the link is gone, as Tulle's does, and is measured as a whole.
 */
export class Floor {
  readonly #addon: NativeAddon
  readonly #spent: Spent = { wallMs: 0, cpuMs: 0 }
  readonly #metered: NativeAddon
  readonly #addHost: KernelHost
  readonly #delHost: KernelHost
  #isPrepared = false
  #pods = 0

  constructor(addon: NativeAddon) {
    this.#addon = addon
    this.#metered = meter(addon, this.#spent)
    this.#addHost = new KernelHost(this.#metered)
    this.#delHost = new KernelHost(addon)
  }

  async series(pods: readonly Netns[], hasPort: boolean): Promise<readonly Series[]> {
    const times = { ADD: [] as Spent[], DEL: [] as Spent[] }
    for (const pod of pods) {
      const { add, del } = await this.#pod(pod, hasPort)
      times.ADD.push(add)
      times.DEL.push(del)
    }
    return (['ADD', 'DEL'] as const).map(verb => ({
      kind: 'calls',
      contender: FLOOR,
      verb,
      hasPort,
      standing: 0,
      atOnce: 1,
      wallMs: times[verb].map(({ wallMs }) => wallMs),
      cpuMs: times[verb].map(({ cpuMs }) => cpuMs),
      wholeMs: times[verb].reduce((sum, { wallMs }) => sum + wallMs, 0),
      daemonCpuMs: 0,
      residentKib: 0,
      failed: 0,
    }))
  }

  async #pod(pod: Netns, hasPort: boolean): Promise<{ readonly add: Spent; readonly del: Spent }> {
    const number = (this.#pods = (this.#pods + 1) % 60_000)
    const attachment = { network: 'floor', containerId: randomBytes(32).toString('hex'), ifName: 'eth0' }
    const hostIfName = hostIfNameOf(attachment)
    const addresses = [parseAddress(`10.244.${number >> 8}.${number & 255}`)]
    const exposure: Exposure = {
      attachment,
      addresses,
      ports: hasPort ? [{ protocol: 'tcp', hostPort: 1 + number, containerPort: 80 }] : [],
      isHairpinMasqueraded: true,
    }
    const plan = planAttach({
      attachment,
      hostIfName,
      hostMac: macOf(attachment, 'host'),
      podIfName: parseIfName('eth0'),
      podMac: macOf(attachment, 'pod'),
      mtuBytes: 1500,
      addresses,
      viaHost: [],
      hostHasIpv6: true,
      hostDisablesIpv6: false,
      podDisablesIpv6: false,
      ...(hasPort && { exposure }),
    })
    await this.#prepare(exposure)
    const add = await this.#add(pod, plan)
    return { add, del: await this.#del(hostIfName, planWithdrawal(attachment, hasPort ? elementsOf(exposure) : [])) }
  }

  /** What belongs to the node, and is there from the first pod on. */
  async #prepare(exposure: Exposure): Promise<void> {
    if (this.#isPrepared && planExposure(exposure).length === 0) return
    using kernel = openLinuxKernelIn(this.#addon, { pod: undefined, host: this.#delHost })
    for (const ruleset of [NODE_RULESET, ...rulesetsOf(exposure)]) {
      const by = Deadline.in(STEP_MS)
      if (!(await kernel.hasRuleset(ruleset, by))) await kernel.replaceRuleset(ruleset, by)
    }
    this.#isPrepared = true
  }

  async #add(pod: Netns, plan: Plan): Promise<Spent> {
    this.#spent.wallMs = this.#spent.cpuMs = 0
    using kernel = openLinuxKernelIn(this.#metered, { pod: this.#metered.openNetns(pod.path), host: this.#addHost })
    await kernel.applyAll(plan, Deadline.in(STEP_MS))
    return { ...this.#spent }
  }

  async #del(hostIfName: ReturnType<typeof hostIfNameOf>, withdrawal: Plan): Promise<Spent> {
    using kernel = openLinuxKernelIn(this.#addon, { pod: undefined, host: this.#delHost })
    const link = await kernel.observeLink('host', hostIfName, Deadline.in(STEP_MS))
    if (link === undefined) throw new Error(`${hostIfName} is not there after it was made`)
    const [wallMs, cpu] = [performance.now(), process.cpuUsage()]
    await kernel.applyAll(withdrawal, Deadline.in(STEP_MS))
    await this.#delHost.removeLink(link.index, Deadline.in(STEP_MS))
    return { wallMs: performance.now() - wallMs, cpuMs: cpuSinceMs(cpu) }
  }
}

/** The addon, with what every exchange takes added to `spent`; single ones are done at once on the calling thread. */
function meter(addon: NativeAddon, spent: Spent): NativeAddon {
  const metered = <T>(work: () => T): T => {
    const [wallMs, cpu] = [performance.now(), process.cpuUsage()]
    try {
      return work()
    } finally {
      spent.wallMs += performance.now() - wallMs
      spent.cpuMs += cpuSinceMs(cpu)
    }
  }
  return {
    ...addon,
    openNetns: path => metered(() => addon.openNetns(path)),
    openNetlink: (netnsFd, protocol) => metered(() => addon.openNetlink(netnsFd, protocol)),
    transact: async (...exchange) => metered(() => addon.transactSync(...exchange)),
    transactSync: (...exchange) => metered(() => addon.transactSync(...exchange)),
    // The way to the thread pool and back is counted with it: some hundredths of a millisecond.
    perform: async (...steps) => {
      const [wallMs, cpu] = [performance.now(), process.cpuUsage()]
      try {
        return await addon.perform(...steps)
      } finally {
        spent.wallMs += performance.now() - wallMs
        spent.cpuMs += cpuSinceMs(cpu)
      }
    },
    writeSysctls: (netnsFd, settings) => metered(() => addon.writeSysctls(netnsFd, settings)),
  }
}

function cpuSinceMs(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1e3
}
