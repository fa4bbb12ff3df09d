/** Restores drives and config files from a VMA archive. */

import { chainSource } from '../chain/chain-source.ts'
import { bindStage } from '../config/registry.ts'
import { Census } from '../core/census.ts'
import { VmapipeError } from '../core/errors.ts'
import { Findings } from '../core/findings.ts'
import { checkOptions, flag, names, type Shape, text } from '../core/options.ts'
import { DEFAULT_BUDGET } from '../core/run-options.ts'
import { type BoundStage, z } from '../core/stage.ts'
import { IncrementalAlone } from '../formats/vma/header.ts'
import type { UnsoundDrive } from '../stages/cluster-writer.ts'
import { IMAGE_FORMATS } from '../storage/spec.ts'
import { archiveReport, DamagedArchive } from './archive-report.ts'
import { chainOf, mayHaveParents } from './chain.ts'
import { refuseIfCut } from './cut-archive.ts'
import { limit, type OperationOptions, type OperationResult, runOperation } from './operation.ts'
import { type ReadingOptions, reading, readingShape } from './read-archive.ts'
import { restoreNotes } from './restore-notes.ts'

const FORMATS = ['raw', ...IMAGE_FORMATS] as const

/** What is restored, and where to. */
export interface RestoreOptions extends ReadingOptions {
  /** The folder for the image `disk-NAME.raw` of every drive and for the config files. Give either this or `drives`. */
  into?: string
  /** With `into`: the format of all images, `raw`, `qcow2` and so on. By default what an archive of Proxmox says of each, or raw. */
  format?: string
  /** TARGET by name, for these drives alone: a raw image or block device, `qcow2:PATH`, an NBD URI. */
  drives?: Record<string, string>
  /** Whether all targets read as zeroes already, or the names of the drives whose targets do. */
  zeroed?: boolean | string[]
  /** Overwrites files that exist. */
  force?: boolean
  /** Permissions of images and config files, such as `0640`. By default only their owner may read and write them. */
  mode?: string
  /** Gives damaged drives their final names too. Otherwise their names end with `.damaged`. */
  salvage?: boolean
  /** Folders and archives where the parents of an incremental archive are looked for, before its own folder. */
  parents?: string[]
  /** The folder for archives of a chain that must be unpacked first. */
  spool?: string
}

export const restoreShape = {
  ...readingShape,
  into: text,
  format: z.enum(FORMATS),
  drives: z.record(z.string(), text),
  zeroed: z.union([flag, names]),
  force: flag,
  mode: text,
  salvage: flag,
  parents: names,
  spool: text,
} satisfies Shape<RestoreOptions>

/**
 * Restores the drives and config files of an archive.
 * Resolves when everything is durable. If the target of a drive fails, the other drives are restored nevertheless. If the archive
 * is damaged, everything that can be read is restored. Then this rejects with a DamagedArchive, whose notes say what became of each
 * drive. An archive that was cut is restored only with `salvage`. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED.
 *
 *     const { drives } = await restore({ from: 'vm.vma.zst', into: 'vm' })
 *     console.log(drives.map(({ name }) => `vm/disk-${name}.raw`))
 */
export async function restore(given: RestoreOptions): Promise<OperationResult> {
  checkOptions('restore', { shape: restoreShape, required: ['from'] }, given)
  const { into, format, drives, zeroed, force, mode, salvage, parents, spool, ...options } = given
  if ((into === undefined) === (drives === undefined)) {
    throw new VmapipeError('USAGE', 'restore needs a folder, or targets of drives, and not both', {
      hint: 'such as vm/, or --drive drive-scsi0=disk.raw',
    })
  }
  if (format !== undefined && into === undefined)
    throw new VmapipeError('USAGE', 'the format is for images in a folder', {
      hint: 'write the target as qcow2:disk.qcow2',
    })
  const where = {
    ...(into !== undefined && { into }),
    ...(format !== undefined && { format }),
    ...(drives !== undefined && { drives }),
  }
  const how = {
    ...(zeroed !== undefined && { zeroed }),
    ...(force && { force }),
    ...(mode !== undefined && { mode }),
    ...(salvage && { salvage }),
  }
  if (!salvage) await refuseIfCut(options)
  const writing = { ...where, ...how }
  try {
    return await restoreFrom((findings) => reading(options, findings), writing, options)
  } catch (error) {
    // Nothing was written yet: the writer refuses an archive without its parents when its header comes.
    if (!(error instanceof IncrementalAlone) || !(await mayHaveParents(options.from))) throw error
    return await restoreChain(options.from as string, writing, { ...options, parents, spool })
  }
}

/** Restores the last archive of a chain. Half of the memory is for reading the archives. */
async function restoreChain(from: string, writing: object, options: RestoreOptions): Promise<OperationResult> {
  const chain = await chainOf(from, options)
  const buffer = Math.floor((options.buffer ?? DEFAULT_BUDGET) / 2)
  try {
    const stages = (findings: Findings) => [chainSource({ from, chain, findings }), ...limit(options.bwlimit)]
    return await restoreFrom(stages, writing, { ...options, buffer })
  } finally {
    await chain.close()
  }
}

async function restoreFrom(
  clusters: (findings: Findings) => BoundStage[],
  writing: object,
  options: OperationOptions,
): Promise<OperationResult> {
  const census = new Census()
  const findings = new Findings()
  const unsound: UnsoundDrive[] = []
  const onUnsound = (drive: UnsoundDrive) => unsound.push(drive)
  const failures: VmapipeError[] = []
  const onFailed = (failure: VmapipeError) => failures.push(failure)
  const stages = [
    ...clusters(findings),
    census.stage,
    bindStage('zero-expander', {}),
    bindStage('cluster-writer', { ...writing, findings, onUnsound, onFailed }),
  ]
  const result = await runOperation(stages, census, options)
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
