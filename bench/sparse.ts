/** A large image that is nearly empty, against a small one with the same data. */

import { join } from 'node:path'
import { memoryGoal, ratioGoals, timesTable } from './comparison.ts'
import { makeSparseImage } from './images.ts'
import { alternate, type Command, isInstalled } from './measure.ts'
import { type Section, type Settings, vmapipe } from './topic.ts'

const GiB = 2 ** 30

export async function run({ folder, quick, runs }: Settings): Promise<Section> {
  const size = quick ? 4 * GiB : 64 * GiB
  const data = size / 64
  const [sparse, dense] = [join(folder, 'sparse.raw'), join(folder, 'dense.raw')]
  makeSparseImage(sparse, size, data)
  makeSparseImage(dense, data, data)
  const measured = await alternate(commands(sparse, dense, folder), runs, folder)
  return {
    title: 'Sparse images',
    intro: [
      `An image of ${size / GiB} GiB with ${data / GiB} GiB of data in 64 pieces, all else holes, against an image of ` +
        'that data alone; both in memory (tmpfs).',
    ],
    tables: [timesTable(measured)],
    goals: [...goals(measured), memoryGoal(measured, (name) => name.startsWith('vmapipe'))],
  }
}

function commands(sparse: string, dense: string, folder: string): Command[] {
  const output = join(folder, 'output.vma')
  const compressed = `${output}.zst`
  const made = (name: string, argv: string[], rest: Partial<Command> = {}): Command => ({
    name,
    argv,
    makes: [output, compressed],
    ...rest,
  })
  const backup = (image: string, to: string) => vmapipe('backup', '-d', `drive-scsi0=${image}`, '-o', to)
  return [
    made('vmapipe backup of the sparse image', backup(sparse, output)),
    made('vmapipe backup of the dense image', backup(dense, output)),
    made('vmapipe backup of the sparse image to .vma.zst', backup(sparse, compressed)),
    made('vmapipe backup of the dense image to .vma.zst', backup(dense, compressed)),
    made('cp --sparse=always of the sparse image', ['cp', '--sparse=always', sparse, output]),
    made('cat of the sparse image > /dev/null', [`cat ${sparse} > /dev/null`], { atMost: 1 }),
    ...(isInstalled('qemu-img')
      ? [
          made('qemu-img convert of the sparse image to qcow2', [
            'qemu-img',
            'convert',
            '-O',
            'qcow2',
            '-f',
            'raw',
            sparse,
            output,
          ]),
        ]
      : []),
    ...(isInstalled('vma')
      ? [made('vma create of the sparse image', ['vma', 'create', output, `drive-scsi0=${sparse}`], { atMost: 1 })]
      : []),
  ]
}

function goals(measured: Parameters<typeof ratioGoals>[0]) {
  return ratioGoals(measured, [
    {
      job: 'backup of the sparse image',
      goal: 'under 1.5 times the backup of the dense image',
      ours: 'vmapipe backup of the sparse image',
      theirs: 'vmapipe backup of the dense image',
      atMost: 1.5,
    },
    {
      job: 'backup of the sparse image to .vma.zst',
      goal: 'under 1.5 times that of the dense image',
      ours: 'vmapipe backup of the sparse image to .vma.zst',
      theirs: 'vmapipe backup of the dense image to .vma.zst',
      atMost: 1.5,
    },
  ])
}
