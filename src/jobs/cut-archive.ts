/**
 * Whether an archive of ours was cut, told from its beginning and its end before anything is restored from it. One whose first
 * extent has a checksum ends with a closing extent (formats/vma/README.md); compressed, that lies before the footer
 * (formats/frame-map/README.md), or in the last frame where there is none.
 */

import { type FileHandle, open, stat } from 'node:fs/promises'
import { ByteQueue } from '../core/byte-queue.ts'
import { VmapipeError } from '../core/errors.ts'
import { Chunk } from '../core/items.ts'
import { definePipeline } from '../core/pipeline.ts'
import { DEFAULT_BUDGET } from '../core/run.ts'
import { type BoundStage, defineStage, z } from '../core/stage.ts'
import { recognise } from '../formats/compression.ts'
import { decodeFooter, TAIL_SIZE } from '../formats/frame-map/frame-map.ts'
import { HEADER_START } from '../formats/gzip/member.ts'
import { decodeExtentHeader, EXTENT_HEADER_SIZE } from '../formats/vma/extent.ts'
import { decodeHeader, headerSize } from '../formats/vma/header.ts'
import { CLOSING } from '../formats/vma/records.ts'
import { Findings } from '../stages/findings.ts'
import { bindStage } from '../stages/registry.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import type { ReadOptions } from './restore.ts'

/** The largest frames that we make, and the one before. */
const LAST_FRAMES = 20 << 20

/** Throws INCOMPLETE where the archive is a file that was cut. What cannot be told so shows when it is read. */
export async function refuseIfCut(options: ReadOptions): Promise<void> {
  const { from } = options
  const place = typeof from === 'string' ? parsePlace(from) : null
  // What is no file can be read but once, or does not know its size.
  if (place?.kind !== 'file' || !(await stat(place.path).catch(() => null))?.isFile()) return
  const uuid = await uuidOfChecked(options)
  if (uuid === null) return
  const file = await open(place.path)
  try {
    const { size } = await file.stat()
    if (await hasNoEnd(file, size, uuid, options)) {
      throw new VmapipeError(
        'INCOMPLETE',
        'the archive has no end: it was cut, never finished, or something was appended',
        {
          file: place.path,
          offset: size,
          hint: 'nothing was written; --salvage restores what there is',
        },
      )
    }
  } finally {
    await file.close()
  }
}

/** Of an archive whose first extent has a checksum; null for any other, and for what is no archive. */
async function uuidOfChecked({ from, signal, buffer, threads }: ReadOptions): Promise<Uint8Array | null> {
  const start = new Start()
  const signals = signal === undefined ? [start.signal] : [signal, start.signal]
  // Where it is cut must not hide how it begins.
  const findings = new Findings()
  const stages = [bindStage('source', { from }), bindStage('decompressor', { findings }), start.stage]
  await definePipeline(stages)
    .run({ buffer, threads, signal: AbortSignal.any(signals) })
    .catch(() => {})
  signal?.throwIfAborted()
  return start.uuid
}

/** Looks at the header and the first extent, and ends the run. */
class Start {
  readonly #queue = new ByteQueue()
  readonly #enough = new AbortController()
  uuid: Uint8Array | null = null
  readonly stage = sinkOf((chunk) => this.#look(chunk))

  get signal(): AbortSignal {
    return this.#enough.signal
  }

  #look(chunk: Chunk): void {
    this.#queue.push(chunk)
    if (this.#queue.length < 60) return
    const size = headerSize(this.#queue.peek(60))
    if (this.#queue.length < size + EXTENT_HEADER_SIZE) return
    const bytes = this.#queue.peek(size + EXTENT_HEADER_SIZE)
    const { uuid } = decodeHeader(bytes.subarray(0, size))
    const { checksum } = decodeExtentHeader(bytes.subarray(size), uuid, size)
    if (checksum !== null) this.uuid = uuid
    this.#queue.clear()
    this.#enough.abort(new VmapipeError('ABORTED', 'the first extent was read'))
  }
}

async function hasNoEnd(file: FileHandle, size: number, uuid: Uint8Array, options: ReadOptions): Promise<boolean> {
  const [magic, tail] = [await bytesAt(file, 0, 4), await bytesAt(file, size - TAIL_SIZE, TAIL_SIZE)]
  const format = recognise(magic)
  if (format === 'vma') return !isClosing(await bytesAt(file, size - EXTENT_HEADER_SIZE, EXTENT_HEADER_SIZE), uuid)
  if (hasFooter(tail)) return false
  const { buffer = DEFAULT_BUDGET } = options
  const wanted = Math.min(LAST_FRAMES, buffer / 2)
  const last = await bytesAt(file, size - wanted, wanted)
  const begin = last.indexOf(format === 'gzip' ? HEADER_START : magic)
  return begin >= 0 && !isClosing(await endOf(last.subarray(begin), options), uuid)
}

/** Damaged ones count: it is there. */
function hasFooter(tail: Buffer): boolean {
  try {
    return decodeFooter(tail) !== null
  } catch {
    return true
  }
}

/** The last bytes that these frames hold; none where the last of them is not whole. */
async function endOf(frames: Buffer, { buffer, threads, signal }: ReadOptions): Promise<Buffer> {
  const findings = new Findings()
  let end: Buffer = Buffer.alloc(0)
  const source = defineStage({
    name: 'last-frames',
    summary: 'gives the last frames',
    input: 'nothing',
    output: 'bytes',
    options: z.strictObject({}),
    create: async function* () {
      yield new Chunk([frames])
    },
  })
  const keep = sinkOf((chunk) => {
    const bytes = Buffer.concat(chunk.buffers)
    end = chunk.gap?.lost ? Buffer.alloc(0) : Buffer.concat([end, bytes.subarray(-EXTENT_HEADER_SIZE)])
    end = end.subarray(-EXTENT_HEADER_SIZE)
    chunk.release()
  })
  await definePipeline([source(), bindStage('decompressor', { findings }), keep]).run({ buffer, threads, signal })
  return end
}

function isClosing(bytes: Buffer, uuid: Uint8Array): boolean {
  try {
    return bytes.length === EXTENT_HEADER_SIZE && decodeExtentHeader(bytes, uuid, 0).record?.kind === CLOSING
  } catch {
    return false
  }
}

/** Fewer where the file has fewer. */
async function bytesAt(file: FileHandle, offset: number, length: number): Promise<Buffer> {
  const start = Math.max(0, offset)
  const { bytesRead, buffer } = await file.read(
    Buffer.alloc(offset + length - start),
    0,
    offset + length - start,
    start,
  )
  return buffer.subarray(0, bytesRead)
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
