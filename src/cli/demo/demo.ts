/** The demo's steps: a guest is made up, backed up, verified, restored, compared. */

import { stat } from 'node:fs/promises'
import { basename, join, relative } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import type { RunOptions } from '../../core/pipeline.ts'
import { formatBytes } from '../../core/size.ts'
import { backup } from '../../jobs/backup.ts'
import { restore } from '../../jobs/restore.ts'
import { verify } from '../../jobs/verify.ts'
import type { RunFlags } from '../flags.ts'
import { formatDuration } from '../progress/duration.ts'
import { runJob } from '../run-job.ts'
import { percent } from '../summary.ts'
import { styled } from '../text.ts'
import { firstDifference } from './compare.ts'
import { type DemoGuest, makeGuest } from './guest.ts'

/** Each step: what it is, the command that would do it, and what came of it. */
export async function runDemo(dir: string, flags: RunFlags, say: (...lines: string[]) => void): Promise<void> {
  const step = async (title: string, job: (options: RunOptions) => Promise<string>, command?: string) => {
    say(styled('bold', title), ...(command === undefined ? [] : [`  $ ${command}`]))
    const started = performance.now()
    const result = await runJob(title, flags, job)
    say(`  ${result} (${formatDuration((performance.now() - started) / 1000)})`)
  }
  const archive = join(dir, 'vm.vma.zst')
  const into = join(dir, 'restored')
  let guest: DemoGuest = { drives: [], config: '' }
  await step('A guest is made up', async ({ signal }) => {
    guest = await makeGuest(dir, signal!)
    return guest.drives.map(({ name, size }) => `${name}: ${formatBytes(size)}`).join(', ')
  })
  await step('Backup', (options) => demoBackup(options, guest, archive), backupLine(guest, dir))
  await step('Verify', (options) => demoVerify(options, archive), 'vmapipe verify vm.vma.zst')
  await step('Restore', (options) => demoRestore(options, archive, into), 'vmapipe restore vm.vma.zst restored/')
  await step('Compare', ({ signal }) => compare(guest, into, signal!))
}

async function demoBackup(options: RunOptions, { drives, config }: DemoGuest, to: string): Promise<string> {
  const sources = Object.fromEntries(drives.map(({ name, path }) => [name, path]))
  await backup({ ...options, drives: sources, configs: { [basename(config)]: config }, to })
  const { size } = await stat(to)
  const whole = drives.reduce((sum, drive) => sum + drive.size, 0)
  return `${formatBytes(whole)} of drives became an archive of ${formatBytes(size)}, ${percent(size, whole)}`
}

async function demoVerify(options: RunOptions, from: string): Promise<string> {
  const { drives } = await verify({ ...options, from })
  return `whole: ${drives.map(({ name, clusters }) => `${name} has all ${clusters} clusters`).join(', ')}`
}

async function demoRestore(options: RunOptions, from: string, into: string): Promise<string> {
  const { drives } = await restore({ ...options, from, into })
  const files = await Promise.all(drives.map(({ name }) => stat(join(into, `disk-${name}.raw`))))
  const allocated = files.reduce((sum, { blocks }) => sum + blocks * 512, 0)
  return `${files.length} images, sparse again: ${formatBytes(allocated)} of disk used`
}

async function compare({ drives, config }: DemoGuest, into: string, signal: AbortSignal): Promise<string> {
  const pairs = [
    ...drives.map(({ name, path }) => [path, join(into, `disk-${name}.raw`)]),
    [config, join(into, basename(config))],
  ]
  for (const [before, after] of pairs) {
    const offset = await firstDifference(before, after, signal)
    if (offset >= 0) throw new VmapipeError('FAILED', 'the restored file differs', { file: after, offset })
  }
  return `all ${pairs.length} files are the same, byte for byte`
}

function backupLine({ drives, config }: DemoGuest, dir: string): string {
  const flags = drives.map(({ name, path }) => `-d ${name}=${relative(dir, path)}`)
  return `vmapipe backup ${flags.join(' ')} -c ${basename(config)} -o vm.vma.zst`
}
