/** How a job writes an archive: its options, and the stages that frame, compress and write. */

import { atLeastOne, flag, placeOrStream, type Shape, text } from '../core/options.ts'
import { z } from '../core/stage.ts'
import type { WritableLike } from '../core/stream-kinds.ts'
import { type Compression, compressionOf, METHODS, parseCompression } from './compression.ts'
import type { PlannedStage } from './plan.ts'

/** How an archive is written. */
export interface WritingOptions {
  /** A path, `-`, `ssh://user@host/path`, `exec:COMMAND`, or a stream of Node or the web. */
  to: string | WritableLike
  /** `zstd`, `zstd:19`, `lz4`, `gzip:6`, `none`, or the same as an object. By default the name of the archive decides. */
  compress?: string | Compression
  /** Replaces an archive that exists. */
  force?: boolean
  /** Of the archive; a new one by default. */
  uuid?: string
  /** The time of the archive in seconds since the epoch; now by default. */
  ctime?: number
  /** A checksum of the data in every extent, and a closing extent that says what the archive has; true by default. */
  checksums?: boolean
  /** The place of every cluster, at the end of the archive; true by default. */
  index?: boolean
}

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
} satisfies Shape<WritingOptions>

/** The stages that write clusters into an archive. */
export function plannedWriting(options: WritingOptions): PlannedStage[] {
  const { to, force, checksums = true, index = true } = options
  return [
    ['vma-framer', { checksums: checksums ? undefined : false, index: index ? undefined : false }],
    ...plannedCompressor(options),
    ['sink', { to, force: force ? true : undefined }],
  ]
}

function plannedCompressor({ index = true, ...options }: WritingOptions): PlannedStage[] {
  const chosen = compressionFor(options)
  return chosen.method === 'none' ? [] : [['compressor', { ...chosen, map: index ? undefined : false }]]
}

/** The compression that the user wants, or else the one that the archive's name tells. */
function compressionFor({ compress, to }: Pick<WritingOptions, 'compress' | 'to'>): Compression {
  const byName = () => (typeof to === 'string' ? compressionOf(to) : ({ method: 'none' } as const))
  return typeof compress === 'string' ? parseCompression(compress) : (compress ?? byName())
}
