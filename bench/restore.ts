/** Verify and restore of archives, against what only reads, copies or decompresses them. */

import { join } from 'node:path'
import { MIXED_IMAGE, QUICK_IMAGE } from './backup.ts'
import { mebibytes, memoryGoal, ratioGoals, timesTable } from './comparison.ts'
import { makeMixedImage } from './images.ts'
import { alternate, type Command, isInstalled, measure } from './measure.ts'
import { type Section, type Settings, vmapipe } from './topic.ts'

export async function run(settings: Settings): Promise<Section> {
  const { folder, quick, runs } = settings
  const paths = {
    image: join(folder, 'disk.raw'),
    vma: join(folder, 'disk.vma'),
    zst: join(folder, 'disk.vma.zst'),
    lz4: join(folder, 'disk.vma.lz4'),
    /** One frame, as the zstd program makes it. */
    plain: join(folder, 'plain.vma.zst'),
    output: join(folder, 'output'),
  }
  makeMixedImage(paths.image, quick ? QUICK_IMAGE : MIXED_IMAGE)
  for (const archive of [paths.vma, paths.zst, paths.lz4]) {
    const argv = vmapipe('backup', '-d', `drive-scsi0=${paths.image}`, '-o', archive)
    await measure({ name: 'the archive', argv }, folder)
  }
  await measure({ name: 'the archive', argv: ['zstd', '-q', '-T2', '-3', paths.vma, '-o', paths.plain] }, folder)
  const measured = await alternate(commands(paths), runs, folder)
  return {
    title: 'Verify and restore',
    intro: [
      `The image of the backup (${mebibytes(paths.image)}), as a .vma of ${mebibytes(paths.vma)}, a .vma.zst of ` +
        `${mebibytes(paths.zst)}, a .vma.lz4 of ${mebibytes(paths.lz4)}; all in memory (tmpfs).`,
    ],
    tables: [timesTable(measured)],
    goals: [...goals(measured), memoryGoal(measured, (name) => name.startsWith('vmapipe'))],
  }
}

function commands({ image, vma, zst, lz4, plain, output }: Record<string, string>): Command[] {
  const made = (name: string, argv: string[]): Command => ({ name, argv, makes: [output] })
  const restore = (archive: string) => vmapipe('restore', archive, output)
  return [
    made('vmapipe verify of .vma', vmapipe('verify', vma)),
    made('cat of the .vma > /dev/null', [`cat ${vma} > /dev/null`]),
    made('vmapipe restore of .vma', restore(vma)),
    made('cp --sparse=always of the image', ['cp', '--sparse=always', image, output]),
    made('vmapipe restore of .vma.zst', restore(zst)),
    made('zstd -dc of the .vma.zst to a file', [`zstd -dc ${zst} > ${output}`]),
    made("vmapipe restore of zstd's .vma.zst", restore(plain)),
    made("zstd -dc of zstd's .vma.zst to a file", [`zstd -dc ${plain} > ${output}`]),
    made('vmapipe verify of .vma.zst', vmapipe('verify', zst)),
    made('vmapipe restore of .vma.lz4', restore(lz4)),
    made('lz4 -dc of the .vma.lz4 to a file', [`lz4 -dc ${lz4} > ${output}`]),
    ...(isInstalled('vma')
      ? [made('vma verify', ['vma', 'verify', vma]), made('vma extract', ['vma', 'extract', vma, output])]
      : []),
  ]
}

function goals(measured: Parameters<typeof ratioGoals>[0]) {
  return ratioGoals(measured, [
    {
      job: 'verify of a .vma',
      goal: 'within 1.3 times of reading it with cat',
      ours: 'vmapipe verify of .vma',
      theirs: 'cat of the .vma > /dev/null',
      atMost: 1.3,
      why:
        'first Node starts and loads 250 modules, which takes 0.2 s, nearly all that cat needs for 2 GiB; then the data is read as ' +
        'fast as cat reads it, and the checksum of every GiB takes another quarter of a second.',
    },
    {
      job: 'restore of a .vma',
      goal: 'no slower than cp --sparse=always of the image',
      ours: 'vmapipe restore of .vma',
      theirs: 'cp --sparse=always of the image',
      atMost: 1,
      why: 'both spend their time in the kernel on the same copies; ours has two threads for it where two processors are free.',
    },
    {
      job: 'restore of a .vma.zst',
      goal: 'no slower than zstd -dc of it into a file',
      ours: 'vmapipe restore of .vma.zst',
      theirs: 'zstd -dc of the .vma.zst to a file',
      atMost: 1,
      why:
        'ours takes a third more processor time, for checking, for moving frames between threads and for starting; it wins that ' +
        'back by decoding on two processors, but only where nobody else wants the second one.',
    },
  ])
}
