/** A VMA archive back into drives and config files. */

import { bindStage } from '../config/registry.ts'
import { Census } from '../core/census.ts'
import { VmapipeError } from '../core/errors.ts'
import { Findings } from '../core/findings.ts'
import { checkOptions, flag, names, type Shape, text } from '../core/options.ts'
import { z } from '../core/stage.ts'
import type { UnsoundDrive } from '../stages/cluster-writer.ts'
import { archiveReport, DamagedArchive } from './archive-report.ts'
import { refuseIfCut } from './cut-archive.ts'
import { type JobResult, runJob } from './job.ts'
import { type ReadOptions, reading, readShape } from './read-archive.ts'
import { restoreNotes } from './restore-notes.ts'

export interface RestoreOptions extends ReadOptions {
  /** A folder for `disk-NAME.raw` of every drive and the config files. Either this or `drives`. */
  into?: string
  /** TARGET by name, for these drives alone: a raw image or block device, `qcow2:PATH`, an NBD URI. */
  drives?: Record<string, string>
  /** Targets that are said to read as zeroes already: all, or the drives of these names. */
  zeroed?: boolean | string[]
  /** Overwrite files that exist. */
  force?: boolean
  /** Permissions of images and config files, as `0640`; their owner's alone unless given. */
  mode?: string
  /** Of a damaged archive, drives that are not whole get their names too; otherwise they end with `.damaged`. */
  salvage?: boolean
}

const shape = {
  ...readShape,
  into: text,
  drives: z.record(z.string(), text),
  zeroed: z.union([flag, names]),
  force: flag,
  mode: text,
  salvage: flag,
} satisfies Shape<RestoreOptions>

/**
 * Resolves when everything is durable. A drive whose target fails does not keep the others from being restored. Of a damaged
 * archive all that can be read is restored, and then this rejects with a DamagedArchive, whose notes tell what became of each
 * drive; one that is known beforehand to be cut is restored with `salvage` alone. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED.
 */
export async function restore(given: RestoreOptions): Promise<JobResult> {
  checkOptions('restore', { shape, required: ['from'] }, given)
  const { into, drives, zeroed, force, mode, salvage, ...options } = given
  if ((into === undefined) === (drives === undefined)) {
    throw new VmapipeError('USAGE', 'restore needs a folder, or targets of drives, and not both', {
      hint: 'such as vm/, or --drive drive-scsi0=disk.raw',
    })
  }
  const where = { ...(into !== undefined && { into }), ...(drives !== undefined && { drives }) }
  const how = {
    ...(zeroed !== undefined && { zeroed }),
    ...(force && { force }),
    ...(mode !== undefined && { mode }),
    ...(salvage && { salvage }),
  }
  if (!salvage) await refuseIfCut(options)
  const census = new Census()
  const findings = new Findings()
  const unsound: UnsoundDrive[] = []
  const onUnsound = (drive: UnsoundDrive) => unsound.push(drive)
  const failures: VmapipeError[] = []
  const onFailed = (failure: VmapipeError) => failures.push(failure)
  const stages = [
    ...reading(options, findings),
    census.stage,
    bindStage('zero-expander', {}),
    bindStage('cluster-writer', { ...where, ...how, findings, onUnsound, onFailed }),
  ]
  const result = await runJob(stages, census, options)
  const report = archiveReport(findings, result.manifest, result.drives)
  if (report.damageCount > 0) {
    const notes = [...failures.map(({ line }) => line), ...restoreNotes(report, unsound)]
    throw new DamagedArchive(report, notes)
  }
  const [first, ...others] = failures
  if (first !== undefined) {
    first.suppressed.push(...others)
    throw first
  }
  return result
}
