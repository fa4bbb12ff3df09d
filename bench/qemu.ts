/** A guest of a stock QEMU: what a backup costs one that writes, how long one takes of one that does not, what the pull costs. */

import { rmSync } from 'node:fs'
import { join } from 'node:path'

import { mebibytes, ratioGoals, timesTable } from './comparison.ts'
import { MIXED_IMAGE, makeMixedImage } from './images.ts'
import { busy } from './qemu/busy.ts'
import { idle, OURS, THEIRS } from './qemu/idle.ts'
import { pull } from './qemu/pull.ts'
import type { Section, Settings } from './topic.ts'

const BUSY_IMAGE = 2 ** 30
const QUICK_IMAGE = 2 ** 28

export async function run(settings: Settings): Promise<Section> {
  const { folder, quick } = settings
  const [small, large] = ['busy.raw', 'idle.raw'].map((name) => join(folder, `image-${name}`))
  makeMixedImage(small, quick ? QUICK_IMAGE : BUSY_IMAGE)
  const written = await busy(small, settings)
  const pulled = await pull(small, settings)
  const busySize = mebibytes(small)
  rmSync(small)
  makeMixedImage(large, quick ? QUICK_IMAGE : MIXED_IMAGE)
  const times = await idle(large, settings)
  return {
    title: 'A guest of a stock QEMU',
    intro: [
      `A busy guest: two drives of ${busySize}, half of each data, in memory (tmpfs); to each of them one write of 4 KiB after the ` +
        'other, at random places and durable (FUA). qemu-storage-daemon is the QEMU, and the writes come through an export of it, ' +
        'as its jobs, filters and exports are those of a QEMU with a guest; vmapipe is the process that measures. Everything takes ' +
        'part in the same processors. The longest write is one of the time from before the backup until nothing is left of it.',
      'At first nearly every write falls on a cluster that the backup has not got yet: 64 KiB of old data are read and saved ' +
        'before 4 KiB are written. Memory is so fast here that this is many times the cost of the write itself; the writes of a ' +
        'guest on a real disk are a few hundred a second, which is why there is a load like that, too. Fleecing saves old data to ' +
        'a qcow2 that needs room for all that is overwritten; guarded and plain push send it to the archive.',
      'In tmpfs it takes QEMU long to find where data ends, and everything else waits meanwhile: its jobs, which ask for holes often, ' +
        'do worse here than on the filesystem of a disk.',
      'The pull: a request costs QEMU about the same whatever its size up to 64 KiB, as it looks up what was overwritten by ' +
        'clusters of that; from 256 KiB on the bytes are what takes the time. A write of the guest to what is being read waits ' +
        'for the read, so 256 KiB it is, 16 in flight, as QEMU does no more at once for one client.',
      `A drive that nobody writes to has ${mebibytes(large)}; its QEMU has a machine that is paused.`,
    ],
    tables: [written.table, pulled, timesTable(times)],
    goals: [
      ...written.goals,
      ...ratioGoals(times, [
        {
          job: 'backup by QMP of a drive that nobody writes to',
          goal: 'at most 1.5 times the time of qemu-img convert through qemu-nbd',
          ours: OURS,
          theirs: THEIRS,
          atMost: 1.5,
        },
      ]),
    ],
  }
}
