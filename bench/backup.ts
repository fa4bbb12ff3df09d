/** Backup of an image to .vma, .vma.lz4, .vma.zst and .vma.gz, against what copies, converts and compresses. */

import { statSync } from 'node:fs'
import { join } from 'node:path'
import { type find, mebibytes, memoryGoal, ratioGoals, timesTable } from './comparison.ts'
import { makeMixedImage } from './images.ts'
import { alternate, type Command, isInstalled, measure } from './measure.ts'
import { type Goal, type Section, type Settings, vmapipe } from './topic.ts'

export const MIXED_IMAGE = 4 * 2 ** 30
export const QUICK_IMAGE = 256 * 2 ** 20

/** Against a compressor our job does more: it also reads the image and frames it; that one gets a .vma which is there already. */
export async function run(settings: Settings): Promise<Section> {
  const { folder, quick } = settings
  const image = join(folder, 'disk.raw')
  makeMixedImage(image, quick ? QUICK_IMAGE : MIXED_IMAGE)
  const copies = await alternate(copying(image, folder), settings.runs, folder)
  const vma = join(folder, 'disk.vma')
  await measure({ name: 'the .vma', argv: backup(image, vma) }, folder)
  const { commands, sizes } = compressing(image, vma, folder)
  const packed = await alternate(commands, settings.runs, folder)
  return {
    title: 'Backup',
    intro: [
      `The image has ${mebibytes(image)}: half data, a quarter written zeroes, a quarter holes, in turns of 64 MiB. ` +
        'Images, archives and copies are in memory (tmpfs): no disk hides what the programs cost.',
    ],
    tables: [timesTable(copies), timesTable(packed, sizes())],
    goals: [...copyGoals(copies), ...compressGoals(packed, folder), memoryGoal([...copies, ...packed], isOurs)],
  }
}

const isOurs = (name: string) => name.startsWith('vmapipe')

function backup(image: string, archive: string): string[] {
  return vmapipe('backup', '-d', `drive-scsi0=${image}`, '-o', archive)
}

function copying(image: string, folder: string): Command[] {
  const copy = join(folder, 'copy')
  const archive = join(folder, 'out.vma')
  const made = (name: string, argv: string[]): Command => ({ name, argv, makes: [copy] })
  return [
    { name: 'vmapipe backup to .vma', argv: backup(image, archive), makes: [archive, copy] },
    { ...made('dd bs=4M', ['dd', `if=${image}`, `of=${copy}`, 'bs=4M']), makes: [copy, archive] },
    made('cat > /dev/null', [`cat ${image} > /dev/null`]),
    made('cp --sparse=always', ['cp', '--sparse=always', image, copy]),
    ...ifInstalled('qemu-img', [
      made('qemu-img convert to raw', ['qemu-img', 'convert', '-f', 'raw', '-O', 'raw', image, copy]),
      made('qemu-img convert to qcow2', ['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', image, copy]),
      {
        ...made('qemu-img convert -c to qcow2, zstd', [
          ...['qemu-img', 'convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', 'compression_type=zstd', image, copy],
        ]),
        atMost: 1,
      },
    ]),
    ...ifInstalled('vma', [made('vma create', ['vma', 'create', copy, `drive-scsi0=${image}`])]),
  ]
}

function compressing(image: string, vma: string, folder: string) {
  const outputs = new Map<string, string>()
  const command = (name: string, suffix: string, argv: (output: string) => string[], atMost?: number): Command => {
    const output = join(folder, `${isOurs(name) ? 'ours' : 'theirs'}.vma.${suffix}`)
    outputs.set(name, output)
    return { name, argv: argv(output), makes: [output], ...(atMost && { atMost }) }
  }
  const ours = (suffix: string, atMost?: number) =>
    command(`vmapipe backup to .vma.${suffix}`, suffix, (output) => backup(image, output), atMost)
  const commands = [
    ours('lz4'),
    command('lz4 -1 of the .vma', 'lz4', (output) => ['lz4', '-q', '-1', vma, output]),
    ours('zst'),
    command('zstd -T2 -3 of the .vma', 'zst', (output) => ['zstd', '-q', '-T2', '-3', vma, '-o', output]),
    ours('gz', 1),
    ...ifInstalled('pigz', [command('pigz -6 of the .vma', 'gz', (output) => [`pigz -6 -c ${vma} > ${output}`], 1)]),
  ]
  const sizes = () => (name: string) => mebibytes(outputs.get(name)!)
  return { commands, sizes }
}

function ifInstalled(program: string, commands: Command[]): Command[] {
  return isInstalled(program) ? commands : []
}

function copyGoals(measured: Parameters<typeof find>[0]): Goal[] {
  const ours = 'vmapipe backup to .vma'
  return ratioGoals(measured, [
    {
      job: 'backup to .vma',
      goal: 'no slower than dd bs=4M of the image',
      ours,
      theirs: 'dd bs=4M',
      atMost: 1,
      why: 'ours makes a checksum of all data and looks for its zeroes, in one thread, and Node takes 0.2 s to start; what it saves is writing the zeroes.',
    },
  ])
}

function compressGoals(measured: Parameters<typeof find>[0], folder: string): Goal[] {
  const ratio = (suffix: string) =>
    statSync(join(folder, `ours.vma.${suffix}`)).size / statSync(join(folder, `theirs.vma.${suffix}`)).size
  const zstd = ratio('zst')
  return [
    ...ratioGoals(measured, [
      {
        job: 'backup to .vma.lz4',
        goal: '1.5 times faster than lz4 -1 of the .vma: 0.67 times its time',
        ours: 'vmapipe backup to .vma.lz4',
        theirs: 'lz4 -1 of the .vma',
        atMost: 1 / 1.5,
        why:
          'the compression of lz4-napi takes as much processor time as the whole of lz4, so that a second processor is all there ' +
          'is to gain, and it also has to read the image (half as large again as the .vma), find its zeroes and frame it.',
      },
      {
        job: 'backup to .vma.zst, level 3',
        goal: 'no slower than zstd -T2 -3 of the .vma',
        ours: 'vmapipe backup to .vma.zst',
        theirs: 'zstd -T2 -3 of the .vma',
        atMost: 1,
        why: 'libzstd does the same work in both; ours reads the whole image besides, finds its zeroes and frames it.',
      },
    ]),
    {
      job: 'size of the .vma.zst',
      goal: 'at most 2 % larger',
      measured: `${(Math.abs(zstd - 1) * 100).toFixed(2)} % ${zstd > 1 ? 'larger' : 'smaller'}`,
      met: zstd <= 1.02,
    },
  ]
}
