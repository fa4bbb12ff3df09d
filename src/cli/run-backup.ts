/** Runs a backup for `vmapipe backup`, and for `vmapipe run` if the config is a backup. */

import type { Keyring } from '../codecs/age/keyring.ts'
import type { BoundStage } from '../core/stage.ts'
import { likelyName } from '../operations/names.ts'
import type { BackupResult } from '../operations/run-backup.ts'
import type { RunFlags } from './flags.ts'
import { runOperation } from './run-operation.ts'
import { backupSummary } from './summary.ts'
import { formatDuration } from './text.ts'

/** Archives that are to be read back when they are complete. */
interface ReadBack {
  archives: readonly string[]
  keys?: Keyring
}

/** `verify` is what is to be read back, if anything is. */
export async function runBackupCommand(
  title: string,
  stages: readonly BoundStage[],
  flags: RunFlags,
  verify: ReadBack | null,
  keys?: Keyring,
): Promise<void> {
  if (verify === null) {
    await run(title, stages, flags, keys)
    return
  }
  const { refuseUnlessReadable } = await import('../operations/read-back.ts')
  for (const archive of verify.archives) await refuseUnlessReadable(archive)
  const { places } = await run(title, stages, flags, keys)
  // An incremental backup may have to become a full one, and its archive then has another name.
  await readBackAll(places.slice(0, verify.archives.length), flags, verify.keys)
}

/** Reads complete archives back, and says that they are whole. */
export async function readBackAll(archives: readonly string[], flags: RunFlags, keys?: Keyring): Promise<void> {
  const { readBack } = await import('../operations/read-back.ts')
  for (const archive of archives) {
    await runOperation(
      'verify',
      { ...flags, stats: false },
      (options) => readBack(archive, { ...options, keys }),
      (_, { elapsed }) => [
        `${archives.length === 1 ? 'the archive' : archive} was read back in ${formatDuration(elapsed)}: it is whole`,
      ],
    )
  }
}

async function run(
  title: string,
  stages: readonly BoundStage[],
  flags: RunFlags,
  keys?: Keyring,
): Promise<BackupResult> {
  const { runBackup } = await import('../operations/run-backup.ts')
  return runOperation(
    title,
    flags,
    (options, onGuest) => {
      for (const name of drivesAtRest(stages)) {
        const likely = likelyName(name)
        if (likely) options.warn?.(`drive ${name}: Proxmox will not find it under this name, it looks for ${likely}`)
      }
      return runBackup(stages, { ...options, onGuest, keys })
    },
    backupSummary,
  )
}

/** The names that the user gave to the drives. */
function drivesAtRest([{ definition, options }]: readonly BoundStage[]): string[] {
  return definition.name === 'cluster-source' ? Object.keys((options as { drives: object }).drives) : []
}
