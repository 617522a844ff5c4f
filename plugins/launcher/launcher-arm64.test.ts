import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import t from 'tap'
import { debianParts } from '../../e2e/parts/debian.ts'
import { launcherFlags, launcherSources } from './build.ts'
import { testLauncher } from './launcher-contract.ts'

// The launcher for arm64 does on an emulated processor what that of this machine does.

/** Debian's compiler for arm64, and what runs its programs on another processor. What it needs besides, gcc has brought. */
const PACKAGES = [
  'binutils-aarch64-linux-gnu',
  'cpp-12-aarch64-linux-gnu',
  'gcc-12-aarch64-linux-gnu',
  'libgcc-12-dev-arm64-cross',
  'linux-libc-dev-arm64-cross',
  'qemu-user-static',
]

/** Its parts lie 64 KiB apart, which is the largest page that a kernel for arm64 has. */
const MAX_BYTES = 256 * 1024

if (process.arch === 'x64') await testEmulated()
else
  t.test(
    'on an emulated processor',
    { skip: `this machine is ${process.arch}: the other test is of its own` },
    async () => {},
  )

async function testEmulated(): Promise<void> {
  const parts = await debianParts(PACKAGES, { suite: 'bookworm' })
  const path = join(t.testdir(), 'tulle')
  const env = { PATH: join(parts, 'usr/bin'), LD_LIBRARY_PATH: join(parts, 'usr/lib/x86_64-linux-gnu') }
  const compiler = join(parts, 'usr/bin/aarch64-linux-gnu-gcc-12')
  const command = [...launcherFlags('arm64'), '-o', path, ...(await launcherSources())]
  execFileSync(compiler, command, { env, stdio: ['ignore', 'inherit', 'inherit'] })
  t.test('it is a program for arm64', async t => {
    t.match(execFileSync('readelf', ['--file-header', path]).toString(), /AArch64/)
  })
  testLauncher({ path, emulator: [join(parts, 'usr/bin/qemu-aarch64-static')], maxBytes: MAX_BYTES })
}
