/** A job of many guests against the same backups started by hand: what the queue, the locks and the report cost. */

import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { find, timesTable, walls } from './comparison.ts'
import { alternate, type Command } from './measure.ts'
import { pairRatio } from './statistics.ts'
import { plainVmapipe, type Section, type Settings } from './topic.ts'

const MiB = 2 ** 20
const GUESTS = 40
const AT_MOST = 1.1

export async function run({ folder, runs, quick }: Settings): Promise<Section> {
  const guests = quick ? 8 : GUESTS
  const size = (quick ? 16 : 64) * MiB
  const parallel = availableParallelism()
  const names = Array.from({ length: guests }, (_, index) => `guest-${index}`)
  const servers = await served(folder, names, size)
  try {
    const byHand = join(folder, 'by-hand')
    const place = join(folder, 'place')
    for (const made of [byHand, place]) mkdirSync(made)
    const file = join(folder, 'nightly.yaml')
    const limits = `limits: { parallel: ${parallel} }`
    writeFileSync(file, `guests: [{ attach: "${folder}/*.ctl" }]\nto: ${place}\n${limits}\n`, { mode: 0o600 })
    process.env.VMAPIPE_STATE = join(folder, 'state')
    process.env.VMAPIPE_RUNTIME = join(folder, 'locks')
    const [node, launcher] = plainVmapipe()
    const backup = `${node} ${launcher} backup --attach ${folder}/{}.ctl -o ${byHand}/{}.vma.zst --quiet`
    const commands: Command[] = [
      {
        name: `xargs -P ${parallel}`,
        argv: ['sh', '-c', `printf '%s\\n' ${names.join(' ')} | xargs -P ${parallel} -I{} ${backup}`],
        makes: names.map((name) => join(byHand, `${name}.vma.zst`)),
      },
      {
        name: 'vmapipe job run',
        argv: plainVmapipe('job', 'run', file, '--quiet'),
        makes: names.map((name) => join(place, name)),
      },
    ]
    const measured = await alternate(commands, runs, folder)
    const value = pairRatio(walls(find(measured, 'vmapipe job run')), walls(find(measured, `xargs -P ${parallel}`)))
    return {
      title: 'A night of many guests',
      intro: [
        `${guests} guests of ${size / MiB} MiB, each with a \`vmapipe serve\` of its own, are backed up into a folder in memory, ${parallel} at once: by a job, and by xargs, which starts the same backups by hand.`,
      ],
      tables: [timesTable(measured)],
      goals: [
        {
          job: `a job of ${guests} guests`,
          goal: `at most ${AT_MOST} times xargs`,
          measured: `${value.toFixed(2)} times its time`,
          met: value <= AT_MOST,
          value,
        },
      ],
    }
  } finally {
    for (const server of servers) server.kill('SIGKILL')
  }
}

async function served(folder: string, names: readonly string[], size: number): Promise<ChildProcess[]> {
  const data = randomBytes(size / 2)
  const servers = names.map((name) => {
    const disk = join(folder, `${name}.raw`)
    writeFileSync(disk, Buffer.concat([data, Buffer.alloc(size - data.length)]))
    const sockets = ['--socket', join(folder, `${name}.nbd`), '--control', join(folder, `${name}.ctl`)]
    const [program, ...args] = plainVmapipe('serve', '-d', `drive-scsi0=${disk}`, ...sockets)
    return spawn(program, args, { stdio: 'ignore' })
  })
  while (!names.every((name) => existsSync(join(folder, `${name}.ctl`)))) await sleep(50)
  return servers
}
