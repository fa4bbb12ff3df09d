/** The size of frames: what it costs in the size of an archive, in time and memory, and in random reads by `export`. */

import { statSync } from 'node:fs'
import { join } from 'node:path'
import { mebibytes } from './comparison.ts'
import { type Command, isInstalled, measure } from './measure.ts'
import { fio, type Load, start } from './nbd-server.ts'
import { aboutReal, realArchive, realImage } from './real-files.ts'
import { type Goal, type Section, type Settings, type Table, vmapipe } from './topic.ts'

const FRAMES = ['32KiB', '64KiB', '128KiB', '256KiB', '512KiB', '1MiB', '2MiB', '4MiB', null]
const METHODS = { zstd: ['zstd', '-q', '-3', '-T1', '-c'], lz4: ['lz4', '-q', '-1', '-c'] }
type Method = keyof typeof METHODS

const READS: Load = { name: '4k randread, depth 1', rw: 'randread', bs: '4k', depth: 1 }
const SECONDS = 3

export async function run(settings: Settings): Promise<Section> {
  const tables: Table[] = []
  const goals: Goal[] = []
  for (const method of Object.keys(METHODS) as Method[]) {
    if (!isInstalled(method)) continue
    const { table, goal } = await ofMethod(method, settings)
    tables.push(table)
    goals.push(goal)
  }
  return {
    title: 'The size of frames',
    intro: [
      aboutReal(settings),
      'Processor time is that of all threads, user and system, with start-up; what follows "by default" is the archive of a backup that names no ' +
        'frame. A random read decodes and checks a whole frame, unless it is still in memory.',
    ],
    tables,
    goals,
  }
}

async function ofMethod(method: Method, settings: Settings): Promise<{ table: Table; goal: Goal }> {
  const { folder } = settings
  const image = realImage(settings)
  const plain = await realArchive(settings, 'vma')
  const whole = join(folder, `whole.${method}`)
  await measure({ name: `the ${method} program`, argv: [`${METHODS[method].join(' ')} ${plain} > ${whole}`] }, folder)
  const least = statSync(whole).size
  const rows: string[][] = []
  let growth = 0
  for (const frame of FRAMES) {
    const archive = join(folder, 'frames.vma')
    const compress = frame === null ? method : `${method},frame=${frame}`
    const making: Command = {
      name: `${method} in frames of ${frame}`,
      argv: vmapipe('backup', '-d', `disk=${image}`, '--compress', compress, '-o', archive),
      makes: [archive],
    }
    const made = await measure(making, folder)
    const read = await measure({ name: 'verify', argv: vmapipe('verify', archive) }, folder)
    const iops = isInstalled('fio') ? await randomReads(archive, statSync(image).size, settings) : null
    growth = statSync(archive).size / least - 1
    rows.push([
      frame ?? 'by default',
      mebibytes(archive),
      `${growth < 0 ? '' : '+'}${(growth * 100).toFixed(1)} %`,
      ...[made, read].flatMap(({ cpu, memory }) => [`${cpu.toFixed(1)} s`, `${(memory / 2 ** 20).toFixed(0)} MiB`]),
      iops === null ? '' : `${(1000 / iops).toFixed(2)} ms`,
    ])
    process.stderr.write(`  ${rows.at(-1)!.join('  ')}\n`)
  }
  return {
    table: {
      head: [
        `${method}, frames of`,
        'size',
        `against the ${method} program, ${mebibytes(whole)}`,
        ...['processor time, backup', 'memory', 'processor time, verify', 'memory', 'random 4 KiB read by export'],
      ],
      rows,
    },
    goal: {
      job: `size of a .vma.${method === 'zstd' ? 'zst' : 'lz4'} of real files`,
      goal: `at most 1 % more than ${METHODS[method].slice(0, -1).join(' ')} of the .vma`,
      measured: `${(growth * 100).toFixed(1)} %`,
      met: growth <= 0.01,
      value: 1 + growth,
    },
  }
}

/** Reads a second. */
async function randomReads(archive: string, size: number, { folder, quick }: Settings): Promise<number> {
  const socket = join(folder, 'frames.sock')
  const server = await start(vmapipe('export', archive, '--socket', socket), socket, size)
  try {
    fio(server, READS, 1, folder)
    return fio(server, READS, quick ? 1 : SECONDS, folder)
  } finally {
    await server.stop()
  }
}
