/** Runs a pipeline that is a backup. It may come from a command, a config or code. */

import type { Keyring } from '../codecs/age/keyring.ts'
import { Census } from '../core/census.ts'
import { type ClusterItem, Manifest } from '../core/items.ts'
import type { RunOptions } from '../core/pipeline.ts'
import { type BoundStage, defineStage, z } from '../core/stage.ts'
import { listenTo } from '../live/guest/listen.ts'
import type { GuestStatus } from '../live/guest-figures.ts'
import type { WriteTimes } from '../live/write-times.ts'
import { vmaFramer } from '../stages/vma-framer.ts'
import { GUEST_SOURCE } from '../stages/write-interceptor.ts'
import { announce } from './announce.ts'
import { type OperationResult, runOperation } from './operation.ts'
import { guestNameOf } from './since/guest-name.ts'
import { placesOf } from './since/sinks.ts'
import { withSince } from './since/with-since.ts'

/** What a backup ends with. */
export interface BackupResult extends OperationResult {
  /** How the backup went for the guest, if there is one. Null if the disk server is gone, so that nobody knows. */
  guest?: GuestStatus | null
  /** Where the archive is, without streams. With `since` its names may not be those that were asked for. */
  places: readonly string[]
}

interface RunBackupOptions extends RunOptions {
  /** Called with the state of the guest, about every second. */
  onGuest?: (status: GuestStatus) => void
  /** Called with how long the guest's writes took up to now, every few seconds; it is asked only if this is given. */
  onWrites?: ((times: WriteTimes) => void) | undefined
  /** What opens the parent of an incremental archive, if it is encrypted. */
  keys?: Keyring | undefined
  /** Makes a full archive if the parent that is named cannot be used. */
  orFull?: boolean | undefined
  /** The guest that a full archive is recorded as of; by default the one that the stages name, or that is known from where its drives are. */
  guest?: string | undefined
}

/** Whether these stages back up drives: they have a running guest, or make an archive of clusters that come from drives. */
export function isBackup(stages: readonly BoundStage[]): boolean {
  const [first] = stages
  if (first?.definition.input !== 'nothing' || first.definition.output !== 'clusters') return false
  const hasGuest = first.definition.name === GUEST_SOURCE
  return hasGuest || stages.some(({ definition }) => definition.name === vmaFramer.definition.name)
}

/** Errors: those of the stages. If the archive is to be incremental, also those of reading the parent. */
export function runBackup(
  stages: readonly BoundStage[],
  { keys, orFull, ...options }: RunBackupOptions,
): Promise<BackupResult> {
  return withSince(stages, { ...options, keys, orFull }, (bound) => run(bound, options))
}

async function run(
  stages: readonly BoundStage[],
  { onGuest, onWrites, guest: named, ...options }: Omit<RunBackupOptions, 'keys'>,
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
    ...(onWrites && { writes: onWrites }),
    end: (status) => {
      guest = status
    },
  })
  const at = endOfClusters(stages)
  const counted = [...heard.slice(0, at), ...recorded(stages, named), census.stage, ...heard.slice(at)]
  const result = await runOperation(counted, census, options)
  const places = placesOf(stages).filter((to) => typeof to === 'string')
  return { ...result, places, ...(guest !== undefined && { guest }) }
}

/**
 * The stage that puts the guest into the record of a full archive, so that the next backup finds its parent. An archive as the real tool
 * would write it has no record.
 */
function recorded(stages: readonly BoundStage[], guest = guestNameOf(stages[0])): BoundStage[] {
  const framer = stages.find(({ definition }) => definition.name === vmaFramer.definition.name)
  const { checksums, index } = (framer?.options ?? {}) as { checksums?: boolean; index?: boolean }
  if (!checksums || !index) return []
  const stage = defineStage({
    name: 'record',
    summary: 'says in the archive which guest it is of',
    input: 'clusters',
    output: 'clusters',
    options: z.strictObject({}),
    create: () => (item: ClusterItem) => {
      if (item.kind !== 'manifest' || item.record?.guest) return item
      const record = { parent: null, full: null, ...item.record, guest }
      return new Manifest({ ...item, record })
    },
  })
  return [stage()]
}

/** The first stage that does not give clusters. */
function endOfClusters(stages: readonly BoundStage[]): number {
  return stages.findIndex(({ definition: { output } }) => output !== 'clusters' && output !== 'same')
}
