/** Loop devices, so that there is a block device to test with. They need root and a kernel that has them. */

import { execFileSync, spawnSync } from 'node:child_process'
import type { TestContext } from 'node:test'

/** Options for `test()`: containers and CI machines may lack either, so nobody fails for it. */
export const needsLoopDevice: { skip: string | false } = { skip: process.env.CI ? false : probe() }

/** A loop device over this file, of at least a sector; it goes with the test. */
export function loopDevice(t: Pick<TestContext, 'after'>, path: string): string {
  const device = execFileSync('losetup', ['--find', '--show', path], { encoding: 'utf8' }).trim()
  t.after(() => spawnSync('losetup', ['--detach', device]))
  return device
}

function probe(): string | false {
  if (process.getuid?.() !== 0) return 'needs root for loop devices'
  const { status, stderr, error } = spawnSync('losetup', ['--find'], { encoding: 'utf8' })
  return status === 0 ? false : `no loop devices: ${error?.message ?? stderr.trim()}`
}
