/** A guest whose disk we serve: what a backup costs it, how long one takes, and what memory the server needs. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { mebibytes, ratioGoals, timesTable } from './comparison.ts'
import { MIXED_IMAGE, makeMixedImage } from './images.ts'
import { fio } from './live/fio.ts'
import { latency } from './live/latency.ts'
import { Serving } from './live/serving.ts'
import { underLoad } from './live/under-load.ts'
import { alternate } from './measure.ts'
import { type Goal, type Section, type Settings, vmapipe } from './topic.ts'

/** A slow sink must not be through with it before the guest is. */
const QUICK_IMAGE = 2 ** 30
const MEMORY_GOAL = 200 << 20

export async function run(settings: Settings): Promise<Section> {
  // A guest's disk lies on a filesystem and, here, all in its cache; tmpfs is another matter.
  const folder = mkdtempSync(join(tmpdir(), 'vmapipe-bench-'))
  try {
    return await measured(join(folder, 'disk.raw'), settings)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function measured(image: string, settings: Settings): Promise<Section> {
  makeMixedImage(image, settings.quick ? QUICK_IMAGE : MIXED_IMAGE)
  // The image is as it was made; after this the guest writes to it.
  const quiet = await quietGuest(image, settings)
  const load = await underLoad(image, settings)
  const felt = await latency(image, settings)
  const memory = await memoryOf(image, settings.folder)
  return {
    title: 'A guest whose disk we serve',
    intro: [
      `The image has ${mebibytes(image)}, as that of the backup, and is in the page cache of a filesystem. fio is the guest, over a unix socket. ` +
        'During backups means: one after the other, of the whole image, to /dev/null; those of qemu-storage-daemon go by NBD to ' +
        'another one that throws them away. All of it takes part in the processors that serve the guest. Where no cached read ' +
        'without waiting is to be had (tmpfs, network filesystems), every copy takes a trip through a thread, and a guest that writes ' +
        '4 KiB at depth 16 keeps about 0.4 of its speed instead.',
    ],
    tables: [timesTable(quiet), load.table, felt.table],
    goals: [
      ...ratioGoals(quiet, [
        {
          job: 'backup to .vma of a guest that is idle',
          goal: 'at most 1.3 times the time of a backup of the same image at rest',
          ours: 'vmapipe backup --attach',
          theirs: 'vmapipe backup -d',
          atMost: 1.3,
          why: 'the archive is made in a second process, which has to start and to ask for the backup.',
        },
      ]),
      ...load.goals,
      ...felt.goals,
      memory,
    ],
  }
}

async function quietGuest(image: string, { folder, runs }: Settings) {
  const archive = join(folder, 'out.vma')
  const serving = await Serving.start(image, folder)
  try {
    return await alternate(
      [
        {
          name: 'vmapipe backup --attach',
          argv: vmapipe('backup', '--attach', serving.control, '-o', archive),
          makes: [archive],
        },
        {
          name: 'vmapipe backup -d',
          // serve has the image open, and nobody writes to it meanwhile.
          argv: vmapipe('backup', '--force-share', '-d', `drive-scsi0=${image}`, '-o', archive),
          makes: [archive],
        },
      ],
      runs,
      folder,
    )
  } finally {
    await serving.stop()
  }
}

/** `folder`: for sockets and reports. */
async function memoryOf(image: string, folder: string): Promise<Goal> {
  const serving = await Serving.start(image, folder)
  const backups = await serving.backUpAllTheTime()
  for (const bs of ['4k', '64k', '1M'])
    await fio(serving.target, { name: bs, rw: 'randwrite', bs, depth: 16, jobs: 8 }, 2, folder)
  await backups.stop()
  const { peakMemory } = serving
  await serving.stop()
  return {
    job: 'peak memory of serve: 8 connections with 16 writes each of 4k, 64k and 1M, during backups',
    goal: 'under 200 MiB',
    measured: `${(peakMemory / 2 ** 20).toFixed(0)} MiB`,
    met: peakMemory < MEMORY_GOAL,
    why: 'Node with its code takes 100 MiB of it, the buffer of the backup 64, writes that are held 8, the rest is garbage that is not collected yet.',
  }
}
