/** Restore of a real image's archives, against what copies or decompresses them. */

import { join } from 'node:path'
import { mebibytes, memoryGoal, ratioGoals, timesTable } from './comparison.ts'
import { alternate, type Command, isInstalled, measure } from './measure.ts'
import { aboutReal, realArchive, realImage } from './real-files.ts'
import { type Goal, type Section, type Settings, vmapipe } from './topic.ts'

export async function run(settings: Settings): Promise<Section> {
  const { folder, runs } = settings
  const image = realImage(settings)
  const [vma, zst, lz4] = [
    await realArchive(settings, 'vma'),
    await realArchive(settings, 'vma.zst'),
    await realArchive(settings, 'vma.lz4'),
  ]
  // One frame, as the zstd program makes it.
  const plain = join(folder, 'plain.vma.zst')
  await measure({ name: 'the archive', argv: ['zstd', '-q', '-T2', '-3', vma, '-o', plain] }, folder)
  const measured = await alternate(commands({ image, vma, zst, lz4, plain }, join(folder, 'output')), runs, folder)
  const sizes = `As archives: a .vma of ${mebibytes(vma)}, a .vma.zst of ${mebibytes(zst)}, a .vma.lz4 of ${mebibytes(lz4)}.`
  return {
    title: 'Restore',
    intro: [aboutReal(settings), sizes],
    tables: [timesTable(measured)],
    goals: [...goals(measured), memoryGoal(measured, (name) => name.startsWith('vmapipe'))],
  }
}

function commands({ image, vma, zst, lz4, plain }: Record<string, string>, output: string): Command[] {
  const made = (name: string, argv: string[]): Command => ({ name, argv, makes: [output] })
  const restore = (archive: string) => vmapipe('restore', archive, output)
  return [
    made('vmapipe restore of .vma', restore(vma)),
    made('cp --sparse=always of the image', ['cp', '--sparse=always', image, output]),
    made('vmapipe restore of .vma.zst', restore(zst)),
    made('zstd -d of the .vma.zst', ['zstd', '-q', '-d', zst, '-o', output]),
    made("vmapipe restore of zstd's .vma.zst", restore(plain)),
    made("zstd -d of zstd's .vma.zst", ['zstd', '-q', '-d', plain, '-o', output]),
    made('vmapipe restore of .vma.lz4', restore(lz4)),
    made('lz4 -d of the .vma.lz4', ['lz4', '-q', '-d', lz4, output]),
    ...(isInstalled('vma') ? [made('vma extract', ['vma', 'extract', vma, output])] : []),
  ]
}

const CP =
  'cp moves the bytes and does nothing else. Ours checks the hash of every cluster too; and writes to one file wait for each other in the kernel, ' +
  'so that a second processor helps with the hashes alone.'
const ONE_FRAME =
  'it is one frame, which only one processor can decode. That takes as long as it takes zstd; but between two pieces the thread that decodes waits ' +
  'for the one that checks and hands on.'

function goals(measured: Parameters<typeof ratioGoals>[0]): Goal[] {
  const goal = (ours: string, theirs: string, atMost: number, why?: string) => ({
    job: `${ours.replace('vmapipe ', '')}, against ${theirs}`,
    goal: `at most ${atMost} times its time`,
    ours,
    theirs,
    atMost,
    why,
  })
  return ratioGoals(measured, [
    goal('vmapipe restore of .vma', 'cp --sparse=always of the image', 0.8, CP),
    goal('vmapipe restore of .vma.zst', 'zstd -d of the .vma.zst', 0.85),
    goal('vmapipe restore of .vma.lz4', 'lz4 -d of the .vma.lz4', 0.8),
    goal("vmapipe restore of zstd's .vma.zst", "zstd -d of zstd's .vma.zst", 1.15, ONE_FRAME),
  ])
}
