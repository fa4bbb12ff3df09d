/**
 * Finds out whether an archive of ours was cut, from its beginning and its end, before anything is restored from it. If its first
 * extent has a checksum, the archive must end with a closing extent (formats/vma/README.md). In a compressed archive the closing
 * extent is in front of the footer (formats/frame-map/README.md), or in the last frame if there is no footer.
 */

import { stat } from 'node:fs/promises'
import { decrypted } from '../access/encrypted-bytes.ts'
import { Keyring } from '../codecs/age/keyring.ts'
import { bindStage } from '../config/registry.ts'
import { ByteQueue } from '../core/byte-queue.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { Findings, isDamage } from '../core/findings.ts'
import { BLOCK_SIZE } from '../core/geometry.ts'
import { Chunk } from '../core/items.ts'
import { definePipeline } from '../core/pipeline.ts'
import { DEFAULT_BUDGET } from '../core/run-options.ts'
import { type BoundStage, defineStage, z } from '../core/stage.ts'
import { recognise } from '../formats/compression.ts'
import { decodeFooter, footerEnds, footerOf, TAIL_SIZE } from '../formats/frame-map/frame-map.ts'
import { HEADER_START } from '../formats/gzip/member.ts'
import { isClosing } from '../formats/vma/closing.ts'
import { decodeExtentHeader } from '../formats/vma/extent.ts'
import { EXTENT_HEADER_SIZE, EXTENT_MAGIC, UUID } from '../formats/vma/extent-header.ts'
import { decodeHeader, headerSize } from '../formats/vma/header.ts'
import { CLOSING } from '../formats/vma/records.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'
import { s3Name } from '../storage/archive/s3/s3-url.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import { openArchiveBytes } from '../storage/archive/volumes/volume-bytes.ts'
import type { ReadingOptions } from './read-archive.ts'

/** Bytes of the header that are needed to know its size. */
const HEADER_START_SIZE = 60
/** Bytes at the end that are searched (20 MiB): the largest frame that we make, and the one before it. */
const LAST_FRAMES = 20 << 20

/** Throws INCOMPLETE if the archive is a file that was cut. A cut that this does not find is found when the archive is read. */
export async function refuseIfCut(options: ReadingOptions): Promise<void> {
  const { from } = options
  const place = typeof from === 'string' ? parsePlace(from) : null
  // Anything but a file or an object can be read only once, or has no known size.
  const path = place?.kind === 'file' ? place.path : place?.kind === 's3' ? s3Name(place) : null
  if (path === null || (place?.kind === 'file' && !(await stat(path).catch(() => null))?.isFile())) return
  const { uuid } = await beginningOf(options)
  if (uuid === null) return
  const size = await sizeIfCut(path, uuid, options)
  if (size === null) return
  throw new VmapipeError('INCOMPLETE', 'the archive has no end: it was cut, or never finished', {
    file: path,
    offset: size,
    hint: 'nothing was written; --salvage restores what there is',
  })
}

/**
 * Whether the archive has its first extent and its end. It is a file, an object, a file on another host, or the first of several volumes.
 * True if that cannot be known: no key opens it, or it is of another program. Errors: FAILED if it cannot be read, ABORTED.
 */
export async function hasBothEnds(options: ReadingOptions & { from: string }): Promise<boolean> {
  const { from, signal } = options
  try {
    const { hasExtent, error, uuid } = await beginningOf(options)
    if (!hasExtent && error !== null) throw error
    return hasExtent && (uuid === null || (await sizeIfCut(from, uuid, options)) === null)
  } catch (error) {
    signal?.throwIfAborted()
    if (isDamage(error)) return false
    if (asVmapipeError(error).code === 'USAGE') return true
    throw error
  }
}

/** The archive's size if it was cut; null if it was not. */
async function sizeIfCut(archive: string, uuid: Uint8Array, options: ReadingOptions): Promise<number | null> {
  let file = await openArchiveBytes(archive, { signal: options.signal })
  try {
    file = await decrypted(file, options.keys ?? new Keyring())
    return (await hasNoEnd(file, file.size, uuid, options)) ? file.size : null
  } finally {
    await file.close()
  }
}

/** Reads the archive up to the header of its first extent. Throws only ABORTED. */
async function beginningOf({ from, keys, signal, buffer, threads }: ReadingOptions): Promise<Beginning> {
  const start = new Beginning()
  const signals = signal === undefined ? [start.signal] : [signal, start.signal]
  // With findings, the run does not end at damage before it has seen the first extent.
  const findings = new Findings()
  const stages = [
    bindStage('source', { from }),
    bindStage('decryptor', { keys, findings }),
    bindStage('decompressor', { findings }),
    start.stage,
  ]
  await definePipeline(stages)
    .run({ buffer, threads, signal: AbortSignal.any(signals) })
    .catch((error) => {
      start.error = error
    })
  signal?.throwIfAborted()
  return start
}

/** Looks at the header and the first extent, and ends the run. */
class Beginning {
  readonly #queue = new ByteQueue()
  readonly #enough = new AbortController()
  /** Whether the header of the first extent was there. */
  hasExtent = false
  /** Of an archive whose first extent has a checksum. */
  uuid: Uint8Array | null = null
  /** What has ended the run. */
  error: unknown = null
  readonly stage = sinkOf((chunk) => this.#look(chunk))

  get signal(): AbortSignal {
    return this.#enough.signal
  }

  #look(chunk: Chunk): void {
    this.#queue.push(chunk)
    if (this.#queue.length < HEADER_START_SIZE) return
    const size = headerSize(this.#queue.peek(HEADER_START_SIZE))
    if (this.#queue.length < size + EXTENT_HEADER_SIZE) return
    const bytes = this.#queue.peek(size + EXTENT_HEADER_SIZE)
    const { uuid } = decodeHeader(bytes.subarray(0, size))
    const { checksum } = decodeExtentHeader(bytes.subarray(size), uuid, size)
    this.hasExtent = true
    if (checksum !== null) this.uuid = uuid
    this.#queue.clear()
    this.#enough.abort(new VmapipeError('ABORTED', 'the first extent was read'))
  }
}

async function hasNoEnd(file: ArchiveBytes, size: number, uuid: Uint8Array, options: ReadingOptions): Promise<boolean> {
  const [magic, tail] = [await bytesAt(file, 0, 4), await bytesAt(file, size - TAIL_SIZE, TAIL_SIZE)]
  const format = recognise(magic)
  if (format === 'vma') {
    const last = await bytesAt(file, size - EXTENT_HEADER_SIZE, EXTENT_HEADER_SIZE)
    return !isClosing(last, uuid) && isCutPlain(file, size, uuid)
  }
  if (hasFooter(tail)) return false
  const { buffer = DEFAULT_BUDGET } = options
  const wanted = Math.min(LAST_FRAMES, size, buffer / 2)
  const last = await bytesAt(file, size - wanted, wanted)
  if (holdsFooter(last, size - wanted)) return false
  const begin = last.indexOf(format === 'gzip' ? HEADER_START : magic)
  return begin >= 0 && !(await mayEnd(last.subarray(begin), uuid, options))
}

/** Goes from one extent header to the next, because there may be anything behind the end. Damage is found when the archive is read. */
async function isCutPlain(file: ArchiveBytes, size: number, uuid: Uint8Array): Promise<boolean> {
  let offset = headerSize(await bytesAt(file, 0, HEADER_START_SIZE))
  while (offset + EXTENT_HEADER_SIZE <= size) {
    try {
      const header = decodeExtentHeader(await bytesAt(file, offset, EXTENT_HEADER_SIZE), uuid, offset)
      if (header.record?.kind === CLOSING) return false
      offset += EXTENT_HEADER_SIZE + header.blocks * BLOCK_SIZE
    } catch {
      return false
    }
  }
  return true
}

/** Whether these bytes, which begin at `start` in the file, have a footer that is at the place that it says. */
function holdsFooter(bytes: Buffer, start: number): boolean {
  for (const end of footerEnds(bytes)) {
    const footer = footerOf(bytes.subarray(0, end))
    if (footer !== null && footer.frameBytes + footer.wrappedBytes + footer.length === start + end) return true
  }
  return false
}

/** A damaged footer counts as one. */
function hasFooter(tail: Buffer): boolean {
  try {
    return decodeFooter(tail) !== null
  } catch {
    return true
  }
}

/**
 * Whether the archive may have ended in these last frames, or before them: they have its closing extent, or no extent of it at all, or
 * damage at their end, so that nobody can know.
 */
async function mayEnd(frames: Buffer, uuid: Uint8Array, { buffer, threads, signal }: ReadingOptions): Promise<boolean> {
  const findings = new Findings()
  let begun = false
  let ended = false
  let tail: Buffer = Buffer.alloc(0)
  const look = sinkOf((chunk) => {
    const bytes = Buffer.concat([tail, ...chunk.buffers])
    for (const header of headersIn(bytes, uuid)) {
      begun ||= header.readUInt32BE(0) === EXTENT_MAGIC
      ended ||= isClosing(header, uuid)
    }
    tail = chunk.gap?.lost ? Buffer.alloc(0) : Buffer.from(bytes.subarray(1 - EXTENT_HEADER_SIZE))
    chunk.release()
  })
  await definePipeline([sourceOf([new Chunk([frames])]), bindStage('decompressor', { findings }), look]).run({
    buffer,
    threads,
    signal,
  })
  return !begun || ended || findings.damage.at(-1)?.error.code === 'DAMAGED'
}

/** What may be headers of extents of this archive: as many bytes, or what there is of them. */
function* headersIn(bytes: Buffer, uuid: Uint8Array): Generator<Buffer> {
  for (let at = bytes.indexOf(uuid, UUID); at >= 0; at = bytes.indexOf(uuid, at + 1))
    yield bytes.subarray(at - UUID, at - UUID + EXTENT_HEADER_SIZE)
}

/** Reads these bytes, or fewer if the file has fewer. */
async function bytesAt(file: ArchiveBytes, offset: number, length: number): Promise<Buffer> {
  const start = Math.max(0, offset)
  const buffer = Buffer.alloc(Math.max(0, Math.min(offset + length, file.size) - start))
  await file.read(buffer, start)
  return buffer
}

function sourceOf(chunks: Iterable<Chunk>): BoundStage {
  return defineStage({
    name: 'bytes',
    summary: 'gives bytes of an archive',
    input: 'nothing',
    output: 'bytes',
    options: z.strictObject({}),
    create: async function* () {
      yield* chunks
    },
  })()
}

function sinkOf(write: (chunk: Chunk) => void): BoundStage {
  return defineStage({
    name: 'look',
    summary: 'looks at bytes as they come',
    input: 'bytes',
    output: 'nothing',
    options: z.strictObject({}),
    create: () => ({ write }),
  })()
}
