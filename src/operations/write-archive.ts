/** How an operation writes an archive: its options, and the stages that frame, compress and write. */

import { VmapipeError } from '../core/errors.ts'
import { atLeastOne, flag, names, placeOrStream, type Shape, text } from '../core/options.ts'
import { z } from '../core/stage.ts'
import type { WritableLike } from '../core/stream-kinds.ts'
import { objectShape } from '../stages/sink/object-shape.ts'
import type { ObjectOptions } from '../storage/archive/s3/object-options.ts'
import { isS3, parseS3 } from '../storage/archive/s3/s3-url.ts'
import { hasName } from '../storage/archive/spec.ts'
import { type Compression, compressionOf, METHODS, parseCompression } from './compression.ts'
import type { PlannedBranch, PlannedStage } from './plan.ts'
import { isFolder, refuseOtherKind } from './since/naming.ts'

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

/** Another place for an archive. Its name decides whether it is encrypted, and how it is compressed unless `compress` does. */
export interface AnotherPlace {
  to: string
  /** True by default. Places that are not required hold the others back for 10 seconds in all at most. */
  required?: boolean
  /** Who can read the archive there; by default those of `encrypt`. */
  encrypt?: Encryption
  /** What the object gets there if it is a store; by default that of `object`. */
  object?: ObjectOptions
}

/** How an archive is written. */
export interface WritingOptions {
  /** A path, `-`, `ssh://user@host/path`, `s3://bucket/name`, `exec:COMMAND`, or a stream of Node or the web. */
  to: string | WritableLike
  /** More places for the same archive. If one that is required fails, the backup does; without any other, the backup goes on. */
  also?: readonly AnotherPlace[]
  /** `zstd`, `zstd:19`, `lz4`, `gzip:6`, `none`, or the same as an object. By default the name of the archive decides. */
  compress?: string | Compression
  /** Encrypts the archive with age, as the outermost layer. A file's name then ends in .age. */
  encrypt?: Encryption
  /** What an object of a store (`s3://`) gets besides its bytes. */
  object?: ObjectOptions
  /**
   * Stores only what has changed since this parent: a place of an archive, or `auto`, the newest archive of the guest in the target's
   * folder. The name of the archive then ends in .vmi, .vmi.zst and so on, or is a folder: it ends with /.
   */
  since?: string
  /** Which guest this is, so that `since: 'auto'` finds its archives. By default a name made of the places of the drives. */
  guest?: string
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

export const encryptionShape = z.strictObject({
  recipients: names.optional(),
  recipientsFiles: names.optional(),
  passphrase: flag.optional(),
  passphraseFd: z.int().min(0).optional(),
})

export const writingShape = {
  to: placeOrStream,
  compress: z.union([
    text,
    z.strictObject({ method: z.enum(METHODS), level: z.int().optional(), frame: atLeastOne.optional() }),
  ]),
  also: z.array(
    z.strictObject({
      to: text,
      required: flag.optional(),
      encrypt: encryptionShape.optional(),
      object: objectShape.optional(),
    }),
  ),
  encrypt: encryptionShape,
  object: objectShape,
  since: text,
  guest: text,
  force: flag,
  uuid: z.guid(),
  ctime: z.int().min(0),
  checksums: flag,
  index: flag,
} satisfies Shape<WritingOptions>

/** The stage that drops what is unchanged, if the archive is to be incremental. Throws USAGE for names that say otherwise. */
export function plannedSince({ since, guest, to, also = [], checksums, index }: WritingOptions): PlannedStage[] {
  for (const place of [to, ...also.map((other) => other.to)]) refuseOtherKind(place, since)
  if (since === undefined) return []
  if (checksums === false || index === false) {
    throw new VmapipeError('USAGE', 'an incremental archive must have checksums and an index', {
      hint: 'leave out --no-checksums and --no-index, or --since',
    })
  }
  return [['change-filter', { since, guest }]]
}

/** The stages that write clusters into an archive. */
export function plannedWriting(options: WritingOptions): PlannedStage[] {
  const { checksums = true, index = true } = options
  refuseObjectElsewhere(options)
  return [
    ['vma-framer', { checksums: checksums ? undefined : false, index: index ? undefined : false }],
    ...(options.also?.length ? plannedBranches(options, options.also) : plannedPlace(options)),
  ]
}

function refuseObjectElsewhere({ to, also = [], object }: WritingOptions): void {
  const places = [to, ...also.map((place) => place.to)]
  // Wrong names are told before what they do not say about the compression.
  for (const place of places) if (inStore(place)) parseS3(place)
  if (object === undefined || places.some(inStore)) return
  throw new VmapipeError(
    'USAGE',
    'locks, storage classes and tags are for archives in a store, and this goes to none',
    {
      hint: 'write it to s3://bucket/name',
    },
  )
}

function inStore(to: string | WritableLike): to is string {
  return typeof to === 'string' && isS3(to)
}

/** Compresses, encrypts and writes. */
function plannedPlace(options: WritingOptions): PlannedStage[] {
  return [...plannedCompressor(options), ...plannedEnd(options)]
}

function plannedEnd(options: WritingOptions): PlannedStage[] {
  const { to, force, object } = options
  const sink = { to, object: inStore(to) ? object : undefined, force: force ? true : undefined }
  return [...plannedEncryptor(options), ['sink', sink]]
}

/** Several places. What is compressed alike is compressed once. */
function plannedBranches(options: WritingOptions, also: readonly AnotherPlace[]): PlannedStage[] {
  const first: Omit<AnotherPlace, 'to'> & Pick<WritingOptions, 'to'> = { to: options.to }
  const places = [first, ...also].map(({ to, required = true, encrypt = options.encrypt, object = options.object }) => {
    const own = { ...options, to, object, encrypt: isEncrypted(to, { encrypt }) ? encrypt : undefined }
    return { name: branchName(to), required, own, compressor: plannedCompressor(own) }
  })
  const twice = places.find(({ name }, index) => places.findIndex((other) => other.name === name) < index)
  if (twice !== undefined)
    throw new VmapipeError('USAGE', `the archive goes to ${twice.name} twice`, { hint: 'once is enough' })
  if (options.encrypt !== undefined && places.every(({ own }) => own.encrypt === undefined)) {
    throw new VmapipeError('USAGE', 'no place has a name that says that it is encrypted', { hint: 'end it in .age' })
  }
  const [{ compressor: common }] = places
  const isAlike = places.every(({ compressor }) => JSON.stringify(compressor) === JSON.stringify(common))
  const branches: PlannedBranch[] = places.map(({ name, required, own }) => ({
    name,
    required,
    stages: isAlike ? plannedEnd(own) : plannedPlace(own),
  }))
  const holdBack = places.some(({ required }) => !required) ? HOLD_BACK : undefined
  return [...(isAlike ? common : []), ['tee', { branches, 'hold-back': holdBack }]]
}

/** Seconds in all for which places that are not required may slow a guest's backup. */
const HOLD_BACK = 10
const LONGEST_NAME = 100

/** Of several places, those with names are encrypted if the names say so, and pipes if anything is said about encryption. */
function isEncrypted(to: string | WritableLike, { encrypt }: Pick<WritingOptions, 'encrypt'>): boolean {
  return typeof to === 'string' && hasName(to) ? to.endsWith('.age') : encrypt !== undefined
}

/** The place, for messages. */
function branchName(to: string | WritableLike): string {
  if (typeof to !== 'string') return 'the stream'
  return to.length <= LONGEST_NAME ? to : `…${to.slice(1 - LONGEST_NAME)}`
}

/** The stage that encrypts, if anything is encrypted. Throws USAGE if the name says otherwise. */
export function plannedEncryptor({ encrypt, to }: Pick<WritingOptions, 'encrypt' | 'to'>): PlannedStage[] {
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
  const byName = () => {
    if (typeof to !== 'string') return { method: 'none' } as const
    // An archive in a folder gets a name of its own.
    return isFolder(to) ? ({ method: 'zstd' } as const) : compressionOf(to)
  }
  return typeof compress === 'string' ? parseCompression(compress) : (compress ?? byName())
}
