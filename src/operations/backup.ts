/** Backs up drives that nobody writes to, into one VMA archive. */

import { VmapipeError } from '../core/errors.ts'
import { checkOptions, flag, type Shape, text } from '../core/options.ts'
import { z } from '../core/stage.ts'
import { isDriveReader } from '../stages/cluster-source.ts'
import type { DriveReader } from '../storage/drive.ts'
import { type OperationOptions, operationShape } from './operation.ts'
import { boundStages, type PlannedStage, plannedLimit } from './plan.ts'
import { type BackupResult, runBackup } from './run-backup.ts'
import { plannedSince, plannedWriting, type WritingOptions, writingShape } from './write-archive.ts'

/** What is backed up, and where to. */
export interface BackupOptions extends OperationOptions, WritingOptions {
  /** SOURCE by name: a raw image or block device, `qcow2:PATH`, an NBD URI; or an open drive, which is closed at the end. */
  drives?: Record<string, string | DriveReader>
  /** Paths of files that are carried unchanged, by their name in the archive. */
  configs?: Record<string, string>
  /** Reads images also while a guest or another program has them open for writing; what is read may be torn. */
  forceShare?: boolean
  /** Writes one drive after the other, so that a change in one drive moves nothing of another. By default the drives take turns. */
  inOrder?: boolean
}

const shape = {
  ...operationShape,
  ...writingShape,
  drives: z.record(z.string(), z.union([text, z.custom<DriveReader>(isDriveReader)])),
  configs: z.record(z.string(), text),
  forceShare: flag,
  inOrder: flag,
} satisfies Shape<BackupOptions>

/**
 * Writes drives that nobody writes to, and config files, into one archive.
 * Resolves when the archive is complete and durable. Errors: USAGE, FAILED, ABORTED; with `since` also those of reading the parent.
 *
 *     const { drives, seconds } = await backup({ drives: { 'drive-scsi0': 'disk.raw' }, to: 'vm.vma.zst' })
 *     console.log(drives[0]?.stored, 'bytes of data in', seconds, 'seconds')
 */
export async function backup(options: BackupOptions): Promise<BackupResult> {
  checkOptions('backup', { shape, required: ['to'] }, options)
  return runBackup(boundStages(plannedBackup(options)), options)
}

/** `contents`: config files that are made by the operation, by their name in the archive, or where they are. */
export function plannedBackup(
  options: BackupOptions,
  contents: Record<string, string | Uint8Array> = {},
): PlannedStage[] {
  const configs = { ...contents, ...options.configs }
  const { drives = {}, bwlimit, uuid, ctime, forceShare, inOrder, guest } = options
  if (Object.keys(drives).length + Object.keys(configs).length === 0) {
    throw new VmapipeError('USAGE', 'nothing to back up', { hint: 'name at least one drive or config file' })
  }
  const none = Object.keys(configs).length === 0
  return [
    [
      'cluster-source',
      {
        ...{ drives, configs: none ? undefined : configs, guest, uuid, ctime },
        ...{ forceShare: forceShare || undefined, inTurn: inOrder ? false : undefined },
      },
    ],
    ...plannedLimit(bwlimit),
    ['zero-elider'],
    ...plannedSince(options),
    ...plannedWriting(options),
  ]
}
