/**
 * A process of the topic `scale`: backs up drives that are made in code, one backup after the other, and throws the archive away.
 * Prints what it took, as JSON. Arguments: the size of all drives, the number of drives, the data in them, how many backups.
 */

import { backup } from '../../src/operations/backup.ts'
import { MadeDrive, madeContent } from './made-drive.ts'

const [size, count, data, times] = process.argv.slice(2).map(Number)
const content = madeContent(Math.min(16 * 2 ** 20, Math.floor(data / count / 65536) * 65536))

/** Without a backup before it the first would pay for the compiler. */
await once(64 * 2 ** 20)
const before = process.cpuUsage()
const started = performance.now()
for (let time = 0; time < times; time++) await once(size)
const seconds = (performance.now() - started) / 1000
const { user, system } = process.cpuUsage(before)
const cpu = (user + system) / 1e6
console.log(JSON.stringify({ seconds, cpu, memory: process.resourceUsage().maxRSS * 1024 }))

async function once(bytes: number): Promise<void> {
  const share = Math.floor(bytes / count / 65536) * 65536
  const drives = Object.fromEntries(
    Array.from({ length: count }, (_, n) => [
      `drive-scsi${n}`,
      new MadeDrive(share, (data / count) * (bytes / size), content),
    ]),
  )
  await backup({ drives, to: '/dev/null', compress: 'none' })
}
