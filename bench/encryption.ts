/** Encryption with age: what it costs a backup, and reading against the pipe that people use. */

import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { memoryGoal, ratioGoals, timesTable } from './comparison.ts'
import { alternate, type Command, measure } from './measure.ts'
import { aboutReal, realImage } from './real-files.ts'
import { type Section, type Settings, vmapipe } from './topic.ts'

export async function run(settings: Settings): Promise<Section> {
  const { folder, runs } = settings
  const image = realImage(settings)
  const key = join(folder, 'key.txt')
  execFileSync('age-keygen', ['-o', key], { stdio: 'ignore' })
  const recipient = /age1\w+/.exec(readFileSync(key, 'utf8'))![0]
  const sealed = join(folder, 'sealed.vma.zst.age')
  const backup = (target: string) => ['backup', '-d', `drive-scsi0=${image}`, '-f', '-o', target]
  await measure({ name: 'the archive', argv: vmapipe(...backup(sealed), '--recipient', recipient) }, folder)
  const commands: Command[] = [
    { name: 'backup to .vma.zst', argv: vmapipe(...backup(join(folder, 'a.vma.zst'))) },
    {
      name: 'backup to .vma.zst.age',
      argv: vmapipe(...backup(join(folder, 'b.vma.zst.age')), '--recipient', recipient),
    },
    {
      name: 'vmapipe cat of the .vma.zst.age',
      argv: [`${vmapipe('cat', sealed, 'drive-scsi0', '--identity', key).join(' ')} > /dev/null`],
    },
    { name: 'age -d | zstd -dc', argv: [`age -d -i ${key} ${sealed} | zstd -dc > /dev/null`] },
  ]
  const measured = await alternate(commands, runs, folder)
  return {
    title: 'Encryption',
    intro: [aboutReal(settings)],
    tables: [timesTable(measured)],
    goals: [
      ...ratioGoals(measured, [
        {
          job: 'backup to .vma.zst.age, against the same without encryption',
          goal: 'at most 1.08 times its time',
          ours: 'backup to .vma.zst.age',
          theirs: 'backup to .vma.zst',
          atMost: 1.08,
          why: 'compression leaves no processor idle, so what encryption takes is added: the cipher itself, and a copy of each byte to where it is sealed.',
        },
        {
          job: 'cat of a .vma.zst.age, against age -d | zstd -dc',
          goal: 'at most 0.77 times its time',
          ours: 'vmapipe cat of the .vma.zst.age',
          theirs: 'age -d | zstd -dc',
          atMost: 0.77,
          why: 'the pipe has a processor each for age and zstd already, and checks no hashes.',
        },
      ]),
      memoryGoal(measured, (name) => name.includes('age') && !name.startsWith('age')),
    ],
  }
}
