/** A backup by `vmapipe run` of a config against the command that prints this config. */

import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { MIXED_IMAGE, QUICK_IMAGE } from './backup.ts'
import { mebibytes, ratioGoals, timesTable } from './comparison.ts'
import { makeMixedImage } from './images.ts'
import { alternate, type Command } from './measure.ts'
import { type Section, type Settings, vmapipe } from './topic.ts'

const SUFFIXES = ['vma', 'vma.zst']

export async function run({ folder, quick, runs }: Settings): Promise<Section> {
  const image = join(folder, 'disk.raw')
  makeMixedImage(image, quick ? QUICK_IMAGE : MIXED_IMAGE)
  const measured = await alternate(
    SUFFIXES.flatMap((suffix) => pair(image, suffix, folder)),
    runs,
    folder,
  )
  return {
    title: 'Pipelines by config',
    intro: [
      `The image of the backup (${mebibytes(image)}), backed up by the command and by \`vmapipe run\` of the config that the ` +
        'command prints; all in memory (tmpfs).',
    ],
    tables: [timesTable(measured)],
    goals: ratioGoals(
      measured,
      SUFFIXES.map((suffix) => ({
        job: `backup to .${suffix} by a config`,
        goal: 'at most 1.02 times the time of the command',
        ours: byConfig(suffix),
        theirs: byCommand(suffix),
        atMost: 1.02,
      })),
    ),
  }
}

const byConfig = (suffix: string) => `vmapipe run to .${suffix}`
const byCommand = (suffix: string) => `vmapipe backup to .${suffix}`

function pair(image: string, suffix: string, folder: string): Command[] {
  const [one, other] = ['command', 'config'].map((name) => join(folder, `${name}.${suffix}`))
  const backup = (to: string) => vmapipe('backup', '-d', `drive-scsi0=${image}`, '-o', to)
  const config = join(folder, `${suffix}.yaml`)
  const [program, ...args] = backup(other)
  writeFileSync(config, execFileSync(program, [...args, '--print-pipeline']))
  return [
    { name: byCommand(suffix), argv: backup(one), makes: [one] },
    { name: byConfig(suffix), argv: vmapipe('run', config), makes: [other] },
  ]
}
