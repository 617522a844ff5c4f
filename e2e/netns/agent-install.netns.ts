import './harness/isolated.ts'
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { cp, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { Cluster, type NodePlan } from './harness/cluster.ts'
import { execute } from '../parts/command.ts'
import { until } from './harness/until.ts'
import { BIN_FOLDER } from './harness/tulle.ts'

// What the agent puts on a node, when, and how it takes everything away (checklist R10, R11, R38).

const CONFLIST = { cniVersion: '1.1.0', name: 'tulle', plugins: [{ type: 'tulle', ipam: { type: 'tulle-ipam' } }] }
const PLAN: NodePlan = { name: 'a', network: 0, host: 1, podCidrs: [] }
const FAR: NodePlan = { name: 'far', network: 1, host: 9, podCidrs: ['10.244.9.0/24'] }

t.test('install, readiness, uninstall', async t => {
  await using cluster = await Cluster.start()
  const folder = cluster.folder
  const bin = join(folder, 'opt', 'cni', 'bin')
  const net = join(folder, 'etc', 'cni', 'net.d')
  await mkdir(net, { recursive: true })
  await mkdir(bin, { recursive: true })
  writeFileSync(join(folder, 'ours.conflist'), JSON.stringify(CONFLIST))
  writeFileSync(join(bin, 'bridge'), 'somebody else')
  const conflistTo = join(net, '10-tulle.conflist')
  const install = { binFrom: BIN_FOLDER, binTo: bin, conflistFrom: join(folder, 'ours.conflist'), conflistTo }
  const configFile = join(folder, 'install.json')
  writeFileSync(configFile, JSON.stringify({ install, ipamd: { stateDir: join(folder, 'a', 'state') } }))
  const run = (...args: readonly string[]): ReturnType<typeof execute> =>
    execute([join(BIN_FOLDER, 'tulle-agent'), ...args, '--config', configFile], { timeoutMs: 60_000 })

  await t.test('install puts executables there that run, and none that do not (R11)', async t => {
    const first = await run('install')
    t.equal(first.exitCode, 0, first.stderr)
    const version = await execute([join(bin, 'tulle')], {
      env: { CNI_COMMAND: 'VERSION' },
      stdin: '{"cniVersion":"1.1.0"}',
      timeoutMs: 20_000,
    })
    t.match(JSON.parse(version.stdout), { supportedVersions: [] })
    t.match((await run('install')).stderr, /"replaced":\[\]/, 'nothing to do the second time')
    t.notOk(
      readdirSync(bin).some(name => name.startsWith('.')),
      'nothing is left beside them',
    )

    const broken = join(folder, 'broken')
    await cp(BIN_FOLDER, broken, { recursive: true, verbatimSymlinks: true })
    renameSync(join(broken, 'lib', 'libatomic.so.1'), join(broken, 'lib', 'moved'))
    writeFileSync(join(broken, 'tulle-node'), '#!/bin/false\n', { mode: 0o755 })
    const brokenFile = join(folder, 'broken.json')
    writeFileSync(brokenFile, JSON.stringify({ install: { ...install, binFrom: broken } }))
    const outcome = await execute([join(BIN_FOLDER, 'tulle-agent'), 'install', '--config', brokenFile], {
      timeoutMs: 60_000,
    })
    t.equal(outcome.exitCode, 1)
    t.match((await run('install')).stderr, /"replaced":\[\]/, 'what was there is untouched')
  })

  const node = await cluster.add(PLAN)
  cluster.register(FAR)
  await node.stopAgent()
  await node.startAgent(cluster.agentConfig(PLAN, { install }))

  await t.test('the conflist comes last: when the node is ready, and not before (R10, R30)', async t => {
    await node.agent.until('it waits', async () => (await node.ask('/readyz')).body.includes('no pod CIDR'))
    t.strictSame(readdirSync(net), [])
    cluster.register({ ...PLAN, podCidrs: ['10.244.1.0/24'] })
    await node.untilReady()
    await until('it is there', () => existsSync(conflistTo))
    t.strictSame(JSON.parse(readFileSync(conflistTo, 'utf8')), CONFLIST)
  })

  await t.test('a restart keeps it, with what others added (R38)', async t => {
    const withMesh = { ...CONFLIST, plugins: [...CONFLIST.plugins, { type: 'istio-cni' }] }
    writeFileSync(conflistTo, JSON.stringify(withMesh))
    await node.stopAgent('SIGKILL')
    await node.startAgent(cluster.agentConfig(PLAN, { install }))
    await node.untilReady()
    t.strictSame(JSON.parse(readFileSync(conflistTo, 'utf8')), withMesh)
  })

  await t.test('uninstall leaves the node as it was', async t => {
    await node.attach()
    await until('the overlay is there', async () => (await node.routes()).length === 1)
    await node.stopAgent()
    await node.stopIpamd()
    const command = node.netns.command([
      join(BIN_FOLDER, 'tulle-agent'),
      'uninstall',
      '--purge',
      '--config',
      configFile,
    ])
    for (const time of ['once', 'twice']) {
      const outcome = await execute(command, { timeoutMs: 60_000 })
      t.equal(outcome.exitCode, 0, `${time}: ${outcome.stderr}`)
    }
    t.strictSame(readdirSync(net), [], 'no conflist')
    t.strictSame(readdirSync(bin), ['bridge'], 'only what is of somebody else')
    t.notMatch(await node.netns.run(['ip', '-o', 'link']), /tul|vx-/)
    t.equal(await node.netns.run(['ip', 'route', 'show', 'proto', '117']), '')
    t.equal(await node.netns.run(['ip', 'route', 'show', 'proto', '118']), '')
    t.notMatch(await node.netns.run(['nft', 'list', 'ruleset']), /tulle/)
    t.notOk(existsSync(join(folder, 'a', 'state')), 'nor what ipamd stored')
  })
})
