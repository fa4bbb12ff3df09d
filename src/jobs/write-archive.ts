/** How a job writes an archive: its options, and the stages that frame and compress. */

import type { Writable } from 'node:stream'
import { bindStage } from '../config/registry.ts'
import { atLeastOne, flag, placeOrStream, type Shape, text } from '../core/options.ts'
import { type BoundStage, z } from '../core/stage.ts'
import { type Compression, compressionOf, METHODS, parseCompression } from './compression.ts'

export interface WritingOptions {
  /** A path, `-`, `ssh://user@host/path`, `exec:COMMAND`, or a Node stream. */
  to: string | Writable
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

/** The framer, with checksums and an index unless the options say otherwise. `slots` is the most clusters of an extent. */
export function framerFor(
  { checksums = true, index = true }: Pick<WritingOptions, 'checksums' | 'index'>,
  slots?: number,
): BoundStage {
  return bindStage('vma-framer', { checksums, index, ...(slots !== undefined && { slots }) })
}

/** The compression that the user wants, or the one that the name of the archive tells. */
export function compressionFor({ compress, to }: Pick<WritingOptions, 'compress' | 'to'>): Compression {
  const byName = () => (typeof to === 'string' ? compressionOf(to) : ({ method: 'none' } as const))
  return typeof compress === 'string' ? parseCompression(compress) : (compress ?? byName())
}

/** The compressor for that compression; no stage if it is `none`. */
export function compressorFor({
  index = true,
  ...options
}: Pick<WritingOptions, 'compress' | 'to' | 'index'>): BoundStage[] {
  const chosen = compressionFor(options)
  return chosen.method === 'none' ? [] : [bindStage('compressor', { ...chosen, map: index })]
}
