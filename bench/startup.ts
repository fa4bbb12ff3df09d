/** How long a command takes that has next to nothing to do. */

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { find, timesTable, walls } from './comparison.ts'
import { alternate, type Command, type Measured, measure } from './measure.ts'
import { median, pairRatio } from './statistics.ts'
import { type Goal, plainVmapipe, type Section, type Settings, vmapipe } from './topic.ts'

const MiB = 2 ** 20

export async function run({ folder, runs }: Settings): Promise<Section> {
  const disk = join(folder, 'disk.raw')
  const archive = join(folder, 'small.vma')
  const again = join(folder, 'again.vma')
  writeFileSync(disk, Buffer.alloc(MiB, 'x'))
  const backup = (to: string) => vmapipe('backup', '-d', `drive-scsi0=${disk}`, '-o', to)
  await measure({ name: 'the archive', argv: backup(archive) }, folder)
  const commands: Command[] = [
    { name: 'node -e 0', argv: [process.execPath, '-e', '0'] },
    { name: 'vmapipe --version', argv: plainVmapipe('--version') },
    { name: 'vmapipe list of a .vma', argv: plainVmapipe('list', archive) },
    { name: 'vmapipe verify of a .vma of 1 MiB', argv: vmapipe('verify', archive) },
    { name: 'vmapipe backup of 1 MiB', argv: backup(again), makes: [again] },
  ]
  const measured = await alternate(commands, runs * 4, folder)
  return {
    title: 'Start-up',
    intro: ['The package as npm installs it, with the code that an earlier run has compiled.'],
    tables: [timesTable(measured)],
    goals: [goal(measured, 'vmapipe --version', 2), goal(measured, 'vmapipe list of a .vma', 3.33)],
  }
}

/** The goals are 0.06 s and 0.10 s where Node alone takes 0.03 s: on another machine, twice and 3.33 times its time. */
function goal(measured: readonly Measured[], name: string, atMost: number): Goal {
  const ours = walls(find(measured, name))
  const value = pairRatio(ours, walls(find(measured, 'node -e 0')))
  return {
    job: name.replace('vmapipe ', ''),
    goal: `at most ${atMost} times node -e 0`,
    measured: `${value.toFixed(2)} times its time, ${median(ours).toFixed(3)} s`,
    met: value <= atMost,
    value,
  }
}
