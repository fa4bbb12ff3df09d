/** Runs a backup for `vmapipe backup`, and for `vmapipe run` if the config is a backup. */

import type { Keyring } from '../codecs/age/keyring.ts'
import type { BoundStage } from '../core/stage.ts'
import { likelyName } from '../jobs/names.ts'
import type { RunFlags } from './flags.ts'
import { runJob } from './run-job.ts'
import { backupSummary } from './summary.ts'
import { formatDuration } from './text.ts'

/** An archive that is to be read back when it is complete. */
interface ReadBack {
  archive: string
  keys?: Keyring
}

/** `verify` is the archive, if it is to be read back when it is complete. */
export async function runBackupCommand(
  title: string,
  stages: readonly BoundStage[],
  flags: RunFlags,
  verify: ReadBack | null,
): Promise<void> {
  if (verify === null) return run(title, stages, flags)
  const { readBack, refuseUnlessReadable } = await import('../jobs/read-back.ts')
  await refuseUnlessReadable(verify.archive)
  await run(title, stages, flags)
  await runJob(
    'verify',
    { ...flags, stats: false },
    (options) => readBack(verify.archive, { ...options, keys: verify.keys }),
    (_, { elapsed }) => [`the archive was read back in ${formatDuration(elapsed)}: it is whole`],
  )
}

async function run(title: string, stages: readonly BoundStage[], flags: RunFlags): Promise<void> {
  const { runBackup } = await import('../jobs/run-backup.ts')
  await runJob(
    title,
    flags,
    (options, onGuest) => {
      for (const name of drivesAtRest(stages)) {
        const likely = likelyName(name)
        if (likely) options.warn?.(`drive ${name}: Proxmox will not find it under this name, it looks for ${likely}`)
      }
      return runBackup(stages, { ...options, onGuest })
    },
    backupSummary,
  )
}

/** The names that the user gave to the drives. */
function drivesAtRest([{ definition, options }]: readonly BoundStage[]): string[] {
  return definition.name === 'cluster-source' ? Object.keys((options as { drives: object }).drives) : []
}
