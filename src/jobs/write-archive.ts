/** How a job writes an archive: its options, and the stages that frame, compress and write. */

import { VmapipeError } from '../core/errors.ts'
import { atLeastOne, flag, names, placeOrStream, type Shape, text } from '../core/options.ts'
import { z } from '../core/stage.ts'
import type { WritableLike } from '../core/stream-kinds.ts'
import { hasName } from '../storage/archive/spec.ts'
import { type Compression, compressionOf, METHODS, parseCompression } from './compression.ts'
import type { PlannedStage } from './plan.ts'

/** Who can read an encrypted archive. */
export interface Encryption {
  /** Public keys of age. */
  recipients?: readonly string[]
  /** Paths of files with a public key in each line. */
  recipientsFiles?: readonly string[]
  /** Asks for a passphrase at the terminal. */
  passphrase?: boolean
  /** The file descriptor that has the passphrase. */
  passphraseFd?: number
}

/** How an archive is written. */
export interface WritingOptions {
  /** A path, `-`, `ssh://user@host/path`, `exec:COMMAND`, or a stream of Node or the web. */
  to: string | WritableLike
  /** `zstd`, `zstd:19`, `lz4`, `gzip:6`, `none`, or the same as an object. By default the name of the archive decides. */
  compress?: string | Compression
  /** Encrypts the archive with age, as the outermost layer. A file's name then ends in .age. */
  encrypt?: Encryption
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
  encrypt: z.strictObject({
    recipients: names.optional(),
    recipientsFiles: names.optional(),
    passphrase: flag.optional(),
    passphraseFd: z.int().min(0).optional(),
  }),
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
    ...plannedEncryptor(options),
    ['sink', { to, force: force ? true : undefined }],
  ]
}

function plannedEncryptor({ encrypt, to }: WritingOptions): PlannedStage[] {
  const isNamed = typeof to === 'string' && hasName(to)
  if (isNamed && to.endsWith('.age') !== (encrypt !== undefined)) {
    const [message, hint] =
      encrypt === undefined
        ? [
            `the name '${to}' says that the archive is encrypted`,
            'say for whom, such as --recipient age1…, or leave out .age',
          ]
        : [`the name '${to}' does not say that the archive is encrypted`, 'add .age to it']
    throw new VmapipeError('USAGE', message, { hint })
  }
  if (encrypt === undefined) return []
  const { recipients, recipientsFiles, passphrase, passphraseFd } = encrypt
  const options = { recipients, 'recipients-files': recipientsFiles, passphrase, 'passphrase-fd': passphraseFd }
  return [['encryptor', options]]
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
