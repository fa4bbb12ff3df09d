/** Drives that nobody writes to, into one VMA archive. */

import type { Writable } from 'node:stream'
import { bindStage } from '../config/registry.ts'
import { Census } from '../core/census.ts'
import { VmapipeError } from '../core/errors.ts'
import { atLeastOne, checkOptions, flag, placeOrStream, type Shape, text } from '../core/options.ts'
import { type BoundStage, z } from '../core/stage.ts'
import { isDriveReader } from '../stages/cluster-source.ts'
import type { DriveReader } from '../storage/drive.ts'
import { announce } from './announce.ts'
import { type Compression, compressionOf, METHODS, parseCompression } from './compression.ts'
import { type JobOptions, type JobResult, jobShape, limit, runJob } from './job.ts'

export interface BackupOptions extends JobOptions {
  /** SOURCE by name: a raw image or block device, `qcow2:PATH`, an NBD URI; or an open drive, which is closed at the end. */
  drives?: Record<string, string | DriveReader>
  /** Paths of files that are carried unchanged, by their name in the archive. */
  configs?: Record<string, string>
  /** A path, `-`, `ssh://user@host/path`, `exec:COMMAND`, or a Node stream. */
  to: string | Writable
  /** `zstd`, `zstd:19`, `lz4`, `gzip:6`, `none`, or the same as an object; by the name of the archive where left out. */
  compress?: string | Compression
  /** Replace an archive that exists. */
  force?: boolean
  /** Read images also while a guest or another program has them open for writing; what is read may be torn. */
  forceShare?: boolean
  /** Of the archive; a new one unless given. */
  uuid?: string
  /** Time of the archive in seconds since the epoch; now unless given. */
  ctime?: number
  /** A checksum of the data in every extent, and an end that says what the archive has; true unless given. */
  checksums?: boolean
  /** Where every cluster is, at the end of the archive; true unless given. */
  index?: boolean
}

/** How an archive is written. */
export const writingShape = {
  to: placeOrStream,
  compress: z.union([
    text,
    z.strictObject({ method: z.enum(METHODS), level: z.int().optional(), frame: atLeastOne.optional() }),
  ]),
  force: flag,
  uuid: z.guid(),
  ctime: z.int().min(0),
  checksums: flag,
  index: flag,
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

/** The framer, with all that makes an archive one to trust and to find things in unless that is not wanted. */
export function framerFor(
  { checksums = true, index = true }: Pick<BackupOptions, 'checksums' | 'index'>,
  slots?: number,
): BoundStage {
  return bindStage('vma-framer', { checksums, index, ...(slots !== undefined && { slots }) })
}

type CompressorOptions = Pick<BackupOptions, 'compress' | 'to' | 'index'>

/** The compression that is wanted, or told by the archive's name. */
export function compressionFor({ compress, to }: Pick<BackupOptions, 'compress' | 'to'>): Compression {
  const byName = () => (typeof to === 'string' ? compressionOf(to) : ({ method: 'none' } as const))
  return typeof compress === 'string' ? parseCompression(compress) : (compress ?? byName())
}

/** Its compressor; none if that is `none`. */
export function compressorFor({ index = true, ...options }: CompressorOptions): BoundStage[] {
  const chosen = compressionFor(options)
  return chosen.method === 'none' ? [] : [bindStage('compressor', { ...chosen, map: index })]
}
