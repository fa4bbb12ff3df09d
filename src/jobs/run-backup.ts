/** Runs a pipeline that is a backup. It may come from a command, a config or code. */

import { Census } from '../core/census.ts'
import type { RunOptions } from '../core/pipeline.ts'
import type { BoundStage } from '../core/stage.ts'
import { listenTo } from '../live/guest/listen.ts'
import type { GuestStatus } from '../live/guest-figures.ts'
import { vmaFramer } from '../stages/vma-framer.ts'
import { GUEST_SOURCE } from '../stages/write-interceptor.ts'
import { announce } from './announce.ts'
import { type JobResult, runJob } from './job.ts'

/** What a backup ends with. */
export interface BackupResult extends JobResult {
  /** How the backup went for the guest, if there is one. Null if the disk server is gone, so that nobody knows. */
  guest?: GuestStatus | null
}

interface RunBackupOptions extends RunOptions {
  /** Called with the state of the guest, about every second. */
  onGuest?: (status: GuestStatus) => void
}

/** Whether these stages back up drives: they have a running guest, or make an archive of clusters that come from drives. */
export function isBackup(stages: readonly BoundStage[]): boolean {
  const [first] = stages
  if (first?.definition.input !== 'nothing' || first.definition.output !== 'clusters') return false
  const hasGuest = first.definition.name === GUEST_SOURCE
  return hasGuest || stages.some(({ definition }) => definition.name === vmaFramer.definition.name)
}

/** Errors: those of the stages. */
export async function runBackup(
  stages: readonly BoundStage[],
  { onGuest, ...options }: RunBackupOptions,
): Promise<BackupResult> {
  const tell = announce(stages, options.inform)
  let name: string | null = null
  let guest: GuestStatus | null | undefined
  const census = new Census((manifest) => tell(manifest, name))
  const heard = listenTo(stages, {
    name: (text) => {
      name = text
    },
    status: onGuest,
    end: (status) => {
      guest = status
    },
  })
  const at = endOfClusters(stages)
  const counted = [...heard.slice(0, at), census.stage, ...heard.slice(at)]
  const result = await runJob(counted, census, options)
  return guest === undefined ? result : { ...result, guest }
}

/** The first stage that does not give clusters. */
function endOfClusters(stages: readonly BoundStage[]): number {
  return stages.findIndex(({ definition: { output } }) => output !== 'clusters' && output !== 'same')
}
