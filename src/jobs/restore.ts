/** A VMA archive back into drives and config files. */

import type { Readable } from 'node:stream'
import { VmapipeError } from '../core/errors.ts'
import type { BoundStage } from '../core/stage.ts'
import { Census } from '../stages/census.ts'
import { bindStage } from '../stages/registry.ts'
import { type JobOptions, type JobResult, limit, runJob } from './job.ts'

export interface ReadOptions extends JobOptions {
  /** A path, `-`, `ssh://user@host/path`, `exec:COMMAND`, or a Node stream. */
  from: string | Readable
}

export interface RestoreOptions extends ReadOptions {
  /** A folder for `disk-NAME.raw` of every drive and the config files. Either this or `drives`. */
  into?: string
  /** TARGET by name, for these drives alone: a raw image or block device, `qcow2:PATH`, an NBD URI. */
  drives?: Record<string, string>
  /** Targets that are said to read as zeroes already: all, or the drives of these names. */
  zeroed?: boolean | string[]
  /** Overwrite files that exist. */
  force?: boolean
}

/** Resolves when everything is durable. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED. */
export async function restore({ into, drives, zeroed, force, ...options }: RestoreOptions): Promise<JobResult> {
  if ((into === undefined) === (drives === undefined)) {
    throw new VmapipeError('USAGE', 'restore needs a folder, or targets of drives, and not both', {
      hint: 'such as vm/, or --drive drive-scsi0=disk.raw',
    })
  }
  const where = { ...(into !== undefined && { into }), ...(drives !== undefined && { drives }) }
  const how = { ...(zeroed !== undefined && { zeroed }), ...(force && { force }) }
  const census = new Census()
  const stages = [
    ...reading(options),
    census.stage,
    bindStage('zero-expander', {}),
    bindStage('cluster-writer', { ...where, ...how }),
  ]
  return runJob(stages, census, options)
}

/** The stages from an archive to its clusters. */
export function reading({ from, bwlimit }: ReadOptions): BoundStage[] {
  return [
    bindStage('source', { from }),
    ...limit(bwlimit),
    bindStage('decompressor', {}),
    bindStage('vma-deframer', {}),
  ]
}
