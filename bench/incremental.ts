/** Incremental backups without a dirty bitmap: all is read and compared by hashes, and only what changed is stored. */

import { closeSync, openSync, rmSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { memoryGoal, ratioGoals, timesTable } from './comparison.ts'
import { Content, makeSpreadImage } from './images.ts'
import { alternate, type Command, isInstalled, measure } from './measure.ts'
import { type Goal, type Section, type Settings, vmapipe } from './topic.ts'

const MiB = 2 ** 20
const GiB = 2 ** 30
const CLUSTER = 64 << 10
/** b3sum with as many threads as the machine of the goal has processors. */
const B3SUM = 'b3sum --num-threads 2'

interface Shape {
  name: string
  size: number
  /** Bytes of data in clusters that are spread evenly. */
  data: number
  changed: number
}

/** b3sum reads the holes of the first as zeroes. The second has none, so both read the same bytes. */
function shapes(quick: boolean): Shape[] {
  const part = quick ? 16 : 1
  return [
    { name: 'sparse', size: (16 * GiB) / part, data: (2 * GiB) / part, changed: (512 * MiB) / part },
    { name: 'dense', size: (2 * GiB) / part, data: (2 * GiB) / part, changed: (64 * MiB) / part },
  ]
}

export async function run(settings: Settings): Promise<Section> {
  if (!isInstalled('b3sum')) throw new Error('b3sum is needed, and not installed')
  const { folder, runs, quick } = settings
  const goals: Goal[] = []
  const measured = []
  for (const shape of shapes(quick)) {
    const { commands, archive } = await prepared(shape, folder)
    const times = await alternate(commands, runs, folder)
    measured.push(...times)
    goals.push(...ratioGoals(times, [timeGoal(shape)]), sizeGoal(shape, statSync(archive).size))
    if (shape.name === 'dense') {
      const costs = await alternate(hashing(folder), runs, folder)
      measured.push(...costs)
      goals.push(...ratioGoals(costs, [COST]))
    }
    for (const made of [IMAGE, PARENT, NIGHT]) rmSync(join(folder, made), { force: true })
  }
  return {
    title: 'Incremental backups',
    intro: [
      'A drive with data in clusters that are spread evenly, and a full archive of it as the parent. Then clusters all over the data are ' +
        'overwritten, and an incremental archive is made, without a dirty bitmap: the drive is read as a whole.',
      ...shapes(quick).map(({ name, size, data, changed }) => {
        return `The ${name} drive has ${size / MiB} MiB, of which ${data / MiB} are data; ${changed / MiB} MiB change.`
      }),
    ],
    tables: [timesTable(measured)],
    goals: [...goals, memoryGoal(measured, (name) => name.startsWith('vmapipe'))],
  }
}

const IMAGE = 'image.raw'
const PARENT = 'parent.vma'
const NIGHT = 'night.vmi'

/** Makes the drive and its parent, and changes the drive. */
async function prepared({ name, size, data, changed }: Shape, folder: string) {
  const [image, parent, archive] = [IMAGE, PARENT, NIGHT].map((file) => join(folder, file))
  makeSpreadImage(image, size, data)
  const drive = `drive-scsi0=${image}`
  await measure({ name: 'the parent', argv: vmapipe('backup', '-d', drive, '-o', parent) }, folder)
  change(image, { size, data, changed })
  const commands: Command[] = [
    {
      name: ours(name),
      argv: vmapipe('backup', '-d', drive, '--since', parent, '-o', archive),
      makes: [archive],
    },
    { name: theirs(name), argv: [...B3SUM.split(' '), image] },
  ]
  return { commands, archive }
}

const ours = (name: string) => `vmapipe backup --since, ${name}`
const theirs = (name: string) => `${B3SUM}, ${name}`

/** Overwrites every so many clusters of the data. */
function change(path: string, { size, data, changed }: Omit<Shape, 'name'>): void {
  const content = new Content(7)
  const pieces = data / CLUSTER
  const distance = Math.floor(size / pieces / CLUSTER) * CLUSTER
  const every = data / changed
  const file = openSync(path, 'r+')
  for (let piece = 0; piece < pieces; piece += every)
    writeSync(file, content.next(CLUSTER), 0, CLUSTER, distance * piece)
  closeSync(file)
}

const WITH_HASHES = 'vmapipe backup to .vma'
const WITHOUT = 'vmapipe backup to .vma --no-checksums'

function hashing(folder: string): Command[] {
  const made = join(folder, 'full.vma')
  const argv = vmapipe('backup', '-d', `drive-scsi0=${join(folder, IMAGE)}`, '-o', made)
  return [
    { name: WITH_HASHES, argv, makes: [made] },
    { name: WITHOUT, argv: [...argv, '--no-checksums'], makes: [made] },
  ]
}

const COST = {
  job: 'hashes of a full backup to .vma, against none',
  goal: 'at most 1.10 times its time',
  ours: WITH_HASHES,
  theirs: WITHOUT,
  atMost: 1.1,
  why: 'with two processors the hashes are computed by the thread that hands the bytes on. A thread of their own takes from reading and writing what it gives.',
}

const WHY: Record<string, string> = {
  sparse:
    'the data is in 32,768 places, and each costs two searches for holes and a read through another thread. b3sum maps the file, and makes all of it ' +
    'resident, holes too.',
  dense:
    'b3sum maps the file instead of copying it, and hashes on both processors. Ours reads into its own memory, compares with the hashes of the parent and ' +
    'writes what has changed; and Node takes a tenth of a second to start.',
}

function timeGoal({ name }: Shape) {
  return {
    why: WHY[name],
    job: `incremental backup without a bitmap of a ${name} drive, against ${B3SUM} of the image`,
    goal: 'at most 1.1 times its time',
    ours: ours(name),
    theirs: theirs(name),
    atMost: 1.1,
  }
}

function sizeGoal({ name, changed }: Shape, size: number): Goal {
  const ratio = size / changed
  return {
    job: `size of the incremental archive of a ${name} drive`,
    goal: 'what changed, and 1 %',
    measured: `${ratio.toFixed(4)} times what changed`,
    met: ratio <= 1.01,
    value: ratio,
  }
}
