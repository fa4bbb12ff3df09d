/** Drives that nobody writes to, into one VMA archive. */

import { bindStage } from '../config/registry.ts'
import { Census } from '../core/census.ts'
import { VmapipeError } from '../core/errors.ts'
import { checkOptions, flag, type Shape, text } from '../core/options.ts'
import { type BoundStage, z } from '../core/stage.ts'
import { isDriveReader } from '../stages/cluster-source.ts'
import type { DriveReader } from '../storage/drive.ts'
import { announce } from './announce.ts'
import { type JobOptions, type JobResult, jobShape, limit, runJob } from './job.ts'
import { compressorFor, framerFor, type WritingOptions, writingShape } from './write-archive.ts'

export interface BackupOptions extends JobOptions, WritingOptions {
  /** SOURCE by name: a raw image or block device, `qcow2:PATH`, an NBD URI; or an open drive, which is closed at the end. */
  drives?: Record<string, string | DriveReader>
  /** Paths of files that are carried unchanged, by their name in the archive. */
  configs?: Record<string, string>
  /** Reads images also while a guest or another program has them open for writing; what is read may be torn. */
  forceShare?: boolean
}

const shape = {
  ...jobShape,
  ...writingShape,
  drives: z.record(z.string(), z.union([text, z.custom<DriveReader>(isDriveReader)])),
  configs: z.record(z.string(), text),
  forceShare: flag,
} satisfies Shape<BackupOptions>

/** Resolves when the archive is complete and durable. Errors: USAGE, FAILED, ABORTED. */
export async function backup(options: BackupOptions): Promise<JobResult> {
  checkOptions('backup', { shape, required: ['to'] }, options)
  const { drives: sources, inform, to, compress } = options
  const census = new Census(announce({ inform, guest: null, sources, to, compress }))
  return runJob(backupStages(options, census), census, options)
}

function backupStages(options: BackupOptions, census: Census): BoundStage[] {
  const { drives = {}, configs = {}, to, force, bwlimit, uuid, ctime, forceShare } = options
  const identity = { ...(uuid !== undefined && { uuid }), ...(ctime !== undefined && { ctime }) }
  if (Object.keys(drives).length + Object.keys(configs).length === 0) {
    throw new VmapipeError('USAGE', 'nothing to back up', { hint: 'name at least one drive or config file' })
  }
  return [
    bindStage('cluster-source', { drives, configs, ...identity, ...(forceShare && { forceShare }) }),
    ...limit(bwlimit),
    bindStage('zero-elider', {}),
    census.stage,
    framerFor(options),
    ...compressorFor(options),
    bindStage('sink', { to, ...(force && { force }) }),
  ]
}
