/** What is left of a guest's speed while its disk is backed up, of ours and of qemu-storage-daemon's. */

import { execFileSync } from 'node:child_process'
import { isInstalled } from '../measure.ts'
import { median, pairRatio, spread } from '../statistics.ts'
import type { Goal, Settings, Table } from '../topic.ts'
import { fio, type Load, type Target } from './fio.ts'
import { Serving } from './serving.ts'
import { StorageDaemon } from './storage-daemon.ts'

const LOADS: Load[] = [
  { name: '4k randwrite, depth 1', rw: 'randwrite', bs: '4k', depth: 1 },
  { name: '4k randwrite, depth 16', rw: 'randwrite', bs: '4k', depth: 16 },
  { name: '4k randread, depth 16', rw: 'randread', bs: '4k', depth: 16 },
  { name: '64k randwrite, depth 16', rw: 'randwrite', bs: '64k', depth: 16 },
  { name: '1M randwrite, depth 4', rw: 'randwrite', bs: '1M', depth: 4 },
]
const SECONDS = 2
/** Longer than a backup takes: its first moments, in which nearly every write waits for a copy, and what follows. */
const DURING_SECONDS = 8

/** IOPS, one a run. */
interface Figures {
  idle: number[]
  during: number[]
}

interface Served {
  target: Target
  backUpAllTheTime(): Promise<{ stop(): Promise<unknown> }>
  stop(): Promise<void>
}

export async function underLoad(image: string, { runs, folder }: Settings): Promise<{ table: Table; goals: Goal[] }> {
  const servers: [string, () => Promise<Served>][] = [['vmapipe serve', () => Serving.start(image, folder)]]
  if (isInstalled('qemu-storage-daemon'))
    servers.push(['qemu-storage-daemon', () => StorageDaemon.start(image, folder)])
  const figures = new Map(
    servers.flatMap(([server]) => LOADS.map(({ name }) => [key(server, name), { idle: [], during: [] } as Figures])),
  )
  for (let run = 0; run < runs; run++) {
    for (const [server, start] of servers) {
      const served = await start()
      for (const load of LOADS) {
        // What one has written is not to be on its way to the disk while the next is measured.
        execFileSync('sync', [image])
        await measureLoad(served, load, figures.get(key(server, load.name))!, folder)
      }
      await served.stop()
      process.stderr.write(`  run ${run + 1}  ${server}\n`)
    }
  }
  const names = servers.map(([server]) => server)
  return { table: table(names, figures), goals: goals(names, figures) }
}

async function measureLoad(served: Served, load: Load, { idle, during }: Figures, folder: string): Promise<void> {
  // What comes first is slow: connections, memory, compiled code.
  await fio(served.target, load, 1, folder)
  idle.push((await fio(served.target, load, SECONDS, folder)).iops)
  const backups = await served.backUpAllTheTime()
  during.push((await fio(served.target, load, DURING_SECONDS, folder)).iops)
  await backups.stop()
}

const key = (server: string, load: string) => `${server}: ${load}`

function table(servers: string[], figures: Map<string, Figures>): Table {
  return {
    head: ['load', 'disk', 'IOPS without a backup', 'min–max', 'during backups', 'min–max', 'left'],
    rows: LOADS.flatMap(({ name }) =>
      servers.map((server) => {
        const { idle, during } = figures.get(key(server, name))!
        const cells = [idle, during].flatMap((values) => [median(values).toFixed(0), spread(values, 0)])
        return [name, server, ...cells, pairRatio(during, idle).toFixed(2)]
      }),
    ),
  }
}

function goals([ours, theirs]: string[], figures: Map<string, Figures>): Goal[] {
  return LOADS.flatMap(({ name }) => {
    const { idle, during } = figures.get(key(ours, name))!
    const left = pairRatio(during, idle)
    const own: Goal = {
      job: `${name}, during backups`,
      goal: 'at least 0.8 of what it is without',
      measured: `${left.toFixed(2)} (${ratios(during, idle)})`,
      met: left >= 0.8,
      value: 1 / left,
      why: 'in the first seconds nearly every write has all clusters copied that it touches, and backup, sink and fio share the processors with the server.',
    }
    const peer = theirs && figures.get(key(theirs, name))!.during
    if (!peer) return [own]
    const ratio = pairRatio(during, peer)
    const measured = `${ratio.toFixed(2)} times (${ratios(during, peer)})`
    const goal = 'at least what blockdev-backup of qemu-storage-daemon leaves its writer'
    return [
      own,
      {
        job: `${name}, during backups, against qemu-storage-daemon`,
        goal,
        measured,
        met: ratio >= 1,
        value: 1 / ratio,
      },
    ]
  })
}

function ratios(a: number[], b: number[]): string {
  return spread(a.map((value, run) => value / b[run]))
}
