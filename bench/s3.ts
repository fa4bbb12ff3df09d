/** Archives in an S3 store on loopback: Swift of Debian's packages. The store itself takes most of the time of both processors. */

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { S3Client } from '../src/storage/archive/s3/client.ts'
import { startSwift } from '../test/support/swift.ts'
import { memoryGoal, ratioGoals, timesTable } from './comparison.ts'
import { alternate, type Command, isInstalled, measure } from './measure.ts'
import { aboutReal, realArchive, realImage } from './real-files.ts'
import { type Section, type Settings, vmapipe } from './topic.ts'

const BUCKET = 'bench'

export async function run(settings: Settings): Promise<Section> {
  const { folder, runs } = settings
  const image = realImage(settings)
  const archive = await realArchive(settings, 'vma.zst')
  const hooks: (() => void)[] = []
  const store = await startSwift({ after: (hook) => void hooks.push(hook) })
  try {
    // rclone of Debian refuses to begin with a CA of one's own, and the store here has no TLS.
    delete process.env.AWS_CA_BUNDLE
    Object.assign(process.env, store.env, { RCLONE_CONFIG: join(folder, 'none.conf') })
    const client = await S3Client.open(BUCKET)
    await client.ask({ method: 'PUT' })
    client.close()
    mkdirSync(join(folder, 'files'))
    const backup = (target: string) => vmapipe('backup', '-d', `drive-scsi0=${image}`, '-f', '-o', target)
    const rclone = ['rclone', 'copyto', '--ignore-times', archive, `${remote(store.endpoint)}${BUCKET}/rclone.vma.zst`]
    const commands: Command[] = [
      { name: 'backup to .vma.zst in S3', argv: backup(`s3://${BUCKET}/backup.vma.zst`) },
      { name: 'backup to .vma.zst in a file', argv: backup(join(folder, 'files/backup.vma.zst')) },
      { name: 'vmapipe copy of the .vma.zst', argv: vmapipe('copy', '-f', archive, `s3://${BUCKET}/copy.vma.zst`) },
      ...(isInstalled('rclone') ? [{ name: 'rclone copyto of the .vma.zst', argv: rclone }] : []),
    ]
    await measure(commands[0], folder)
    const measured = await alternate(commands, runs, folder)
    return {
      title: 'S3',
      intro: [aboutReal(settings), 'The copy checks the archive on its way; rclone does not.'],
      tables: [timesTable(measured)],
      goals: [
        ...ratioGoals(measured, [
          {
            job: 'backup to .vma.zst in S3, against the same to a file',
            goal: 'at most 1.25 times its time',
            ours: 'backup to .vma.zst in S3',
            theirs: 'backup to .vma.zst in a file',
            atMost: 1.25,
          },
          {
            job: 'upload of a ready archive by copy, against rclone copyto',
            goal: 'at most 1.0 times its time',
            ours: 'vmapipe copy of the .vma.zst',
            theirs: 'rclone copyto of the .vma.zst',
            atMost: 1,
          },
        ]),
        memoryGoal(measured, (name) => name === 'backup to .vma.zst in S3'),
      ],
    }
  } finally {
    for (const hook of hooks.reverse()) hook()
  }
}

/** The store as rclone names it without a configuration file; the keys come from the environment. */
function remote(endpoint: string): string {
  return `:s3,provider=Other,env_auth=true,region=us-east-1,endpoint='${endpoint}':`
}
