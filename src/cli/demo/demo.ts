/** The steps of the demo: a guest runs, it is backed up while it writes, and the archive is verified, restored and compared. */

import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import type { RunOptions } from '../../core/pipeline.ts'
import { formatBytes, formatRate } from '../../core/size.ts'
import type { LiveBackupStatus } from '../../live/live-backup.ts'
import { backup } from '../../operations/backup.ts'
import { restore } from '../../operations/restore.ts'
import { verify } from '../../operations/verify.ts'
import type { RunFlags } from '../flags.ts'
import { runOperation } from '../run-operation.ts'
import { count, formatDuration, styled } from '../text.ts'
import { compareDrive } from './compare.ts'
import { CONFIG, DRIVES } from './drives.ts'
import { PROGRAMS } from './guest.ts'
import { latencyTable } from './latency.ts'
import { ATTACH, DRIVE_ARGUMENTS, LiveGuest, SERVE, TARGET_RATE } from './live.ts'

const ARCHIVE = 'vm.vma.zst'
const AT_REST = 'at-rest.vma.zst'
const RESTORED = 'restored'

const SIZE = DRIVES.map(({ size }) => formatBytes(size)).join(' and ')

interface DemoStep<T> {
  title: string
  /** The command of the step. */
  command?: string[]
  operation(options: RunOptions): Promise<T>
  /** The result of the step. */
  lines(result: T, seconds: string): string[] | Promise<string[]>
}

type Runner = <T>(step: DemoStep<T>) => Promise<T>

/** Runs the demo. Throws if any result is wrong. */
export async function runDemo(dir: string, flags: RunFlags, say: (...lines: string[]) => void): Promise<void> {
  const run: Runner = async ({ title, command, operation, lines }) => {
    say(styled('bold', title), ...(command === undefined ? [] : [`  $ vmapipe ${command.join(' ')}`]))
    const started = performance.now()
    const result = await runOperation(title, flags, operation)
    const seconds = formatDuration((performance.now() - started) / 1000)
    say(...(await lines(result, seconds)).map((line) => `  ${line}`.trimEnd()))
    return result
  }
  const live = await run(begin(dir))
  try {
    await run(backUp(dir, live))
    await run(verifyIt(dir))
    await run(restoreIt(dir))
    await run(compare(dir, live))
    await run(backUpAtRest(dir))
  } finally {
    await live.close()
  }
}

function begin(dir: string): DemoStep<LiveGuest> {
  return {
    title: 'A guest runs, and its disk is served',
    command: SERVE,
    operation: ({ signal }) => LiveGuest.start(dir, signal!),
    lines: () => [
      `${count(DRIVES.length, 'drive')} of ${SIZE}; ${PROGRAMS * DRIVES.length} programs write pages of 4 KiB all over them, until the end`,
    ],
  }
}

function backUp(dir: string, live: LiveGuest): DemoStep<LiveBackupStatus> {
  return {
    title: `Backup while it writes, to a target that takes only ${formatRate(TARGET_RATE)}`,
    command: [...ATTACH, '-o', ARCHIVE],
    operation: (options) => live.backUp(join(dir, ARCHIVE), options),
    async lines({ clusters, copies, buffer }, seconds) {
      const { size } = await stat(join(dir, ARCHIVE))
      return [
        `an archive of ${formatBytes(size)} (${seconds})`,
        `of ${clusters.total} clusters ${clusters.scanned} were scanned, ${clusters.copied} copied just before the guest overwrote them`,
        `${count(copies.requests, 'write')} waited for such a copy; the buffer held ${formatBytes(buffer.highest)} of ${formatBytes(buffer.size)} at most`,
        '',
        ...latencyTable(live.phases),
        '',
      ]
    },
  }
}

function verifyIt(dir: string): DemoStep<{ drives: { name: string; clusters: number }[] }> {
  return {
    title: 'Verify',
    command: ['verify', ARCHIVE],
    operation: (options) => verify({ ...options, from: join(dir, ARCHIVE) }),
    lines: ({ drives }, seconds) => [
      `whole: ${drives.map(({ name, clusters }) => `${name} has all ${clusters} clusters`).join(', ')} (${seconds})`,
    ],
  }
}

function restoreIt(dir: string): DemoStep<unknown> {
  return {
    title: 'Restore',
    command: ['restore', ARCHIVE, `${RESTORED}/`],
    operation: (options) => restore({ ...options, from: join(dir, ARCHIVE), into: join(dir, RESTORED) }),
    async lines(_, seconds) {
      const files = await Promise.all(DRIVES.map(({ name }) => stat(restored(dir, name))))
      const allocated = files.reduce((sum, { blocks }) => sum + blocks * 512, 0)
      return [`${count(files.length, 'image')}, sparse again: ${formatBytes(allocated)} of disk used (${seconds})`]
    },
  }
}

function compare(dir: string, live: LiveGuest): DemoStep<void> {
  return {
    title: 'Compare, byte for byte',
    async operation({ signal }) {
      await live.shutDown()
      const { journal, instant } = live
      for (const drive of DRIVES) {
        await compareDrive(restored(dir, drive.name), drive, { journal, instant }, signal!)
        await compareDrive(join(dir, drive.file), drive, { journal, instant: Number.POSITIVE_INFINITY }, signal!)
      }
      if ((await readFile(join(dir, RESTORED, CONFIG.name), 'utf8')) !== CONFIG.text)
        throw new VmapipeError('FAILED', 'the restored config file differs', { file: CONFIG.name })
    },
    lines(_, seconds) {
      const { journal, instant } = live
      const [before, after] = [journal.before(instant).length, journal.after(instant).length]
      const between = journal.writes.length - before - after
      return [
        `restored are the drives at the point in time (${seconds}): all ${count(before, 'write')} acknowledged`,
        `before it are there, none of the ${after} begun after it${between > 0 ? `; ${between} were under way just then` : ''}`,
        `the guest's own drives have all of its ${count(journal.writes.length, 'write')}`,
      ]
    },
  }
}

function backUpAtRest(dir: string): DemoStep<{ size: number }> {
  const drives = Object.fromEntries(DRIVES.map(({ name, file }) => [name, join(dir, file)]))
  return {
    title: 'The guest is off now: its drives at rest, as fast as it goes',
    command: ['backup', ...DRIVE_ARGUMENTS, '-c', CONFIG.name, '-o', AT_REST],
    async operation(options) {
      const configs = { [CONFIG.name]: join(dir, CONFIG.name) }
      await backup({ ...options, drives, configs, to: join(dir, AT_REST) })
      return stat(join(dir, AT_REST))
    },
    lines: ({ size }, seconds) => [`an archive of ${formatBytes(size)} (${seconds})`],
  }
}

function restored(dir: string, name: string): string {
  return join(dir, RESTORED, `disk-${name}.raw`)
}
