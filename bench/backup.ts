/** Backup of a real image to .vma, .vma.lz4, .vma.zst and .vma.gz, against what copies, converts and compresses. */

import { statSync } from 'node:fs'
import { join } from 'node:path'
import { mebibytes, memoryGoal, ratioGoals, timesTable } from './comparison.ts'
import { mainThreadGoal } from './main-thread.ts'
import { alternate, type Command, isInstalled, type Measured } from './measure.ts'
import { aboutReal, realArchive, realImage } from './real-files.ts'
import { type Goal, type Section, type Settings, vmapipe } from './topic.ts'

/** Runs of what compresses: it takes long and varies little. */
const COMPRESSING_RUNS = 3

/** The main thread's time matters on hosts with many processors. There clusters are hashed beside it, so the program is told of so many. */
const MANY = 4

/** Against a compressor our job does more: it also reads the image and frames it; that one gets a .vma which is there already. */
export async function run(settings: Settings): Promise<Section> {
  const { folder, runs } = settings
  const image = realImage(settings)
  const copies = await alternate(copying(image, folder), runs, folder)
  const vma = await realArchive(settings, 'vma')
  const { commands, sizes } = compressing(image, vma, settings)
  const packed = await alternate(commands, Math.min(runs, COMPRESSING_RUNS), folder)
  const goals = [...copyGoals(copies), ...compressGoals(packed, folder)]
  return {
    title: 'Backup',
    intro: [aboutReal(settings)],
    tables: [timesTable(copies), timesTable(packed, sizes())],
    goals: [...goals, ...(await mainThread(image, settings)), memoryGoal([...copies, ...packed], isOurs)],
  }
}

const isOurs = (name: string) => name.startsWith('vmapipe')

function backup(image: string, archive: string): string[] {
  return vmapipe('backup', '-d', `drive-scsi0=${image}`, '-o', archive)
}

const QCOW2 = 'qemu-img convert -O qcow2 -m 8 -W'

function copying(image: string, folder: string): Command[] {
  const copy = join(folder, 'copy')
  const archive = join(folder, 'out.vma')
  const made = (name: string, argv: string[]): Command => ({ name, argv, makes: [copy, archive] })
  return [
    made('vmapipe backup to .vma', backup(image, archive)),
    made('dd bs=4M', ['dd', `if=${image}`, `of=${copy}`, 'bs=4M']),
    made('cat > /dev/null', [`cat ${image} > /dev/null`]),
    made('cp --sparse=always', ['cp', '--sparse=always', image, copy]),
    ...ifInstalled('qemu-img', [
      made(QCOW2, ['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', '-m', '8', '-W', image, copy]),
    ]),
    ...ifInstalled('vma', [made('vma create', ['vma', 'create', copy, `drive-scsi0=${image}`])]),
  ]
}

function compressing(image: string, vma: string, { folder, quick }: Settings) {
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
    ...ifInstalled('vma', [
      command('vma create | zstd -T2 -3', 'pipe.zst', (output) => [
        `vma create /dev/stdout drive-scsi0=${image} | zstd -q -T2 -3 -o ${output}`,
      ]),
    ]),
    ...(quick ? [] : [ours('gz', 1)]),
    ...(quick
      ? []
      : ifInstalled('pigz', [command('pigz -6 of the .vma', 'gz', (to) => [`pigz -6 -c ${vma} > ${to}`], 1)])),
  ]
  const sizes = () => (name: string) => mebibytes(outputs.get(name)!)
  return { commands, sizes }
}

function ifInstalled(program: string, commands: Command[]): Command[] {
  return isInstalled(program) ? commands : []
}

const CP =
  'cp moves the bytes and does nothing else. Ours hashes them too, which is a quarter of its processor time, and makes nearly full use of two ' +
  'processors already: there is nothing left that could go on side by side.'

function copyGoals(measured: readonly Measured[]): Goal[] {
  const goal = (theirs: string, atMost: number, why?: string) => ({
    job: `backup to .vma, against ${theirs}`,
    goal: `at most ${atMost} times its time`,
    ours: 'vmapipe backup to .vma',
    theirs,
    atMost,
    why,
  })
  return ratioGoals(measured, [
    ...(isInstalled('qemu-img') ? [goal(QCOW2, 1.15)] : []),
    goal('dd bs=4M', 0.65),
    goal('cp --sparse=always', 0.85, CP),
  ])
}

function compressGoals(measured: readonly Measured[], folder: string): Goal[] {
  const goal = (suffix: string, theirs: string, atMost: number) => ({
    job: `backup to .vma.${suffix}, against ${theirs}`,
    goal: `at most ${atMost} times its time`,
    ours: `vmapipe backup to .vma.${suffix}`,
    theirs,
    atMost,
  })
  return [
    ...ratioGoals(measured, [
      goal('zst', 'zstd -T2 -3 of the .vma', 1),
      goal('lz4', 'lz4 -1 of the .vma', 0.75),
      ...(isInstalled('vma') ? [goal('zst', 'vma create | zstd -T2 -3', 1)] : []),
    ]),
    ...['zst', 'lz4'].map((suffix) => sizeGoal(suffix, folder)),
  ]
}

function sizeGoal(suffix: string, folder: string): Goal {
  const size = (whose: string) => statSync(join(folder, `${whose}.vma.${suffix}`)).size
  const value = size('ours') / size('theirs')
  return {
    job: `size of the .vma.${suffix}, against the program's`,
    goal: 'at most 1 % larger',
    measured: `${(Math.abs(value - 1) * 100).toFixed(2)} % ${value > 1 ? 'larger' : 'smaller'}`,
    met: value <= 1.01,
    value,
  }
}

async function mainThread(image: string, settings: Settings): Promise<Goal[]> {
  const data = (statSync(image).blocks * 512) / 2 ** 30
  const goals: Goal[] = []
  for (const suffix of ['vma', 'vma.zst']) {
    const archive = join(settings.folder, `thread.${suffix}`)
    const argv = [...backup(image, archive), '--threads', String(MANY)]
    goals.push(
      await mainThreadGoal(
        { job: `backup to .${suffix}, main thread, --threads ${MANY}`, argv, makes: [archive], data, atMost: 0.25 },
        settings,
      ),
    )
  }
  return goals
}
