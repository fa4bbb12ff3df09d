/** Chains of archives: restore against that of one full archive, and a full archive out of a chain against zstd. */

import { closeSync, openSync, rmSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { memoryGoal, ratioGoals, timesTable } from '../comparison.ts'
import { Content, MIXED_IMAGE, makeMixedImage, QUICK_IMAGE, xorshift } from '../images.ts'
import { alternate, measure } from '../measure.ts'
import { type Section, type Settings, vmapipe } from '../topic.ts'

const CLUSTER = 65536
const NIGHTS = 6
/** What changes in a night, in whole clusters at random places. */
const CHANGED = 0.02

const RESTORE = 'restore of a full and 6 incremental archives'
const RESTORE_ONE = 'restore of one full archive'
const REPACK = 'repack of a full and 6 incremental archives'
const ZSTD = 'zstd -T2 -3 of the same .vma'

const BOTH =
  'zstd only compresses, with both processors. Ours decodes the chain as well, chooses the newest archive for each cluster and checks what it takes: 1.3 ' +
  'to 1.4 times the processor time of zstd before anything waits.'

export async function run({ folder, runs, quick }: Settings): Promise<Section> {
  const image = join(folder, 'image.raw')
  const output = join(folder, 'output')
  makeMixedImage(image, quick ? QUICK_IMAGE : MIXED_IMAGE)
  const make = (to: string, ...more: string[]) => {
    const argv = vmapipe('backup', '-d', `drive-scsi0=${image}`, '-o', to, ...more)
    return measure({ name: 'an archive', argv }, folder)
  }
  let last = join(folder, 'full.vma.zst')
  await make(last)
  for (let night = 1; night <= NIGHTS; night++) {
    change(image, night)
    const next = join(folder, `night${night}.vmi.zst`)
    await make(next, '--since', last)
    last = next
  }
  const [one, plain] = [join(folder, 'one.vma.zst'), join(folder, 'one.vma')]
  await make(one)
  await make(plain)
  const size = statSync(image).size
  rmSync(image)
  const restored = (name: string, archive: string) => {
    return { name, argv: vmapipe('restore', archive, '-d', `drive-scsi0=${output}`), makes: [output] }
  }
  const measured = await alternate(
    [
      restored(RESTORE, last),
      restored(RESTORE_ONE, one),
      { name: REPACK, argv: vmapipe('repack', last, '-o', output, '--compress', 'zstd'), makes: [output] },
      { name: ZSTD, argv: ['zstd', '-q', '-T2', '-3', plain, '-o', output], makes: [output] },
    ],
    runs,
    folder,
  )
  const goal = (ours: string, theirs: string, atMost: number, why?: string) => {
    const job = `${ours}, against ${theirs}`
    return { job, goal: `at most ${atMost} times its time`, ours, theirs, atMost, why }
  }
  return {
    title: 'Chains of archives',
    intro: [
      `A drive of ${size / 2 ** 20} MiB, half of it data, of which ${CHANGED * 100} % change each night in clusters at random places. ` +
        'The archives are .vma.zst and .vmi.zst, in memory.',
    ],
    tables: [timesTable(measured)],
    goals: [
      ...ratioGoals(measured, [goal(RESTORE, RESTORE_ONE, 1.15), goal(REPACK, ZSTD, 1, BOTH)]),
      memoryGoal(measured, (name) => name !== ZSTD),
    ],
  }
}

function change(path: string, seed: number): void {
  const clusters = statSync(path).size / CLUSTER
  const content = new Content(100 + seed)
  const random = xorshift(100 + seed)
  const file = openSync(path, 'r+')
  for (let left = clusters * CHANGED; left > 0; left--)
    writeSync(file, content.next(CLUSTER), 0, CLUSTER, (random() % clusters) * CLUSTER)
  closeSync(file)
}
