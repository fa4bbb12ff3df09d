/** Verify of a real image's archives, against what only reads or decompresses them. */

import { memoryGoal, ratioGoals, timesTable } from './comparison.ts'
import { alternate, type Command, isInstalled } from './measure.ts'
import { aboutReal, realArchive } from './real-files.ts'
import { type Goal, type Section, type Settings, vmapipe } from './topic.ts'

export async function run(settings: Settings): Promise<Section> {
  const { folder, runs } = settings
  const vma = await realArchive(settings, 'vma')
  const zst = await realArchive(settings, 'vma.zst')
  const lz4 = await realArchive(settings, 'vma.lz4')
  const commands: Command[] = [
    { name: 'vmapipe verify of .vma', argv: vmapipe('verify', vma) },
    { name: 'cat of the .vma > /dev/null', argv: [`cat ${vma} > /dev/null`] },
    { name: 'vmapipe verify of .vma.zst', argv: vmapipe('verify', zst) },
    { name: 'zstd -dc of the .vma.zst > /dev/null', argv: [`zstd -dc ${zst} > /dev/null`] },
    { name: 'vmapipe verify of .vma.lz4', argv: vmapipe('verify', lz4) },
    { name: 'lz4 -dc of the .vma.lz4 > /dev/null', argv: [`lz4 -dc ${lz4} > /dev/null`] },
    ...(isInstalled('vma') ? [{ name: 'vma verify', argv: ['vma', 'verify', vma] }] : []),
  ]
  const measured = await alternate(commands, runs, folder)
  return {
    title: 'Verify',
    intro: [aboutReal(settings)],
    tables: [timesTable(measured)],
    goals: [...goals(measured), memoryGoal(measured, (name) => name.startsWith('vmapipe'))],
  }
}

function goals(measured: Parameters<typeof ratioGoals>[0]): Goal[] {
  return ratioGoals(measured, [
    {
      job: 'verify of a .vma, against cat',
      goal: 'at most 1.5 times its time',
      ours: 'vmapipe verify of .vma',
      theirs: 'cat of the .vma > /dev/null',
      atMost: 1.5,
      why: 'cat copies into a buffer that stays in the cache of the processor, and looks at nothing. The hashes alone take three times as long.',
    },
    {
      job: 'verify of a .vma.zst, against zstd -dc',
      goal: 'at most 0.7 times its time',
      ours: 'vmapipe verify of .vma.zst',
      theirs: 'zstd -dc of the .vma.zst > /dev/null',
      atMost: 0.7,
      why: 'decoding takes what it takes zstd, and the hashes a quarter more: on two processors without a moment of rest it would be 0.72.',
    },
  ])
}
