/** Defines a drive that can also be read as a stream of chunks, and makes one of any drive. */

import type { Budget } from '../core/budget.ts'
import { VmapipeError } from '../core/errors.ts'
import { Chunk } from '../core/items.ts'
import { zeroes } from '../core/zero.ts'
import type { DriveExtent, DriveReader } from '../storage/drive.ts'

/** Bytes of a drive that are in one extent of its archive. */
export interface Placed {
  offset: number
  length: number
  /** The number of the extent, counted from the front of the archive; -1 if no extent has them. */
  extent: number
  /** False if all of them are zero. */
  stored: boolean
}

/** One drive of an archive, to read in any order. Offsets and lengths are in bytes. */
export interface ImageReader extends DriveReader {
  /**
   * Reads the bytes from `offset` in order, in chunks of any size up to a few MiB. It reads the next ones in advance. Release each
   * chunk before you ask for the next.
   */
  chunks(offset: number, length: number): AsyncGenerator<Chunk>
  /** The places of the range in the archive, in the order of the drive. Only drives that are read from extents have it. */
  places?(offset: number, length: number): Iterable<Placed>
}

/** The most bytes of a chunk of zeroes (1 MiB). */
const ZERO_CHUNK = 1 << 20
/** The bytes of a chunk of data (1 MiB), and the number of chunks that are read at once. */
const DATA_CHUNK = 1 << 20
const AHEAD = 4

/** Chunks of `length` zeroes, which share one small buffer. */
export function* zeroChunks(length: number): Generator<Chunk> {
  for (let left = length; left > 0; left -= ZERO_CHUNK) {
    const buffers: Uint8Array[] = []
    for (let rest = Math.min(left, ZERO_CHUNK); rest > 0; rest -= buffers.at(-1)!.byteLength) buffers.push(zeroes(rest))
    yield new Chunk(buffers)
  }
}

/** Chunks of any drive. Its reads take memory from `budget`. */
async function* chunksOf(drive: DriveReader, budget: Budget, offset: number, length: number): AsyncGenerator<Chunk> {
  const queue: (Promise<Chunk> | DriveExtent)[] = []
  try {
    for await (const extent of drive.map(offset, length)) {
      for (const piece of extent.zero ? [extent] : piecesOf(extent)) {
        while (queue.length >= AHEAD) yield* first(queue)
        queue.push(piece.zero ? piece : readPiece(drive, budget, piece))
      }
    }
    while (queue.length > 0) yield* first(queue)
  } finally {
    for (const piece of queue)
      if (piece instanceof Promise) await piece.then((chunk) => chunk.release()).catch(() => {})
  }
}

/** One of several handles of a drive. The drive stays open if this handle is closed. */
export class SharedDrive implements ImageReader {
  readonly size: number
  readonly #drive: DriveReader
  readonly #budget: Budget
  #closed = false

  constructor(drive: DriveReader, budget: Budget) {
    this.#drive = drive
    this.#budget = budget
    this.size = drive.size
  }

  async *map(offset: number, length: number): AsyncGenerator<DriveExtent> {
    this.#check()
    yield* this.#drive.map(offset, length)
  }

  async read(buffer: Uint8Array, offset: number): Promise<void> {
    this.#check()
    await this.#drive.read(buffer, offset)
  }

  async *chunks(offset: number, length: number): AsyncGenerator<Chunk> {
    this.#check()
    yield* chunksOf(this.#drive, this.#budget, offset, length)
  }

  async close(): Promise<void> {
    this.#closed = true
  }

  #check(): void {
    if (this.#closed) throw new VmapipeError('FAILED', 'the drive is closed')
  }
}

async function* first(queue: (Promise<Chunk> | DriveExtent)[]): AsyncGenerator<Chunk> {
  const piece = queue.shift()!
  if (piece instanceof Promise) yield piece
  else yield* zeroChunks(piece.length)
}

function* piecesOf({ offset, length }: DriveExtent): Generator<DriveExtent> {
  for (let done = 0; done < length; done += DATA_CHUNK)
    yield { offset: offset + done, length: Math.min(DATA_CHUNK, length - done), zero: false }
}

function readPiece(drive: DriveReader, budget: Budget, { offset, length }: DriveExtent): Promise<Chunk> {
  const piece = budget.take(DATA_CHUNK).then(async (slab) => {
    const bytes = slab.buffer.subarray(0, length)
    await drive.read(bytes, offset).catch((error) => {
      slab.release()
      throw error
    })
    return new Chunk([bytes], [slab])
  })
  // It may fail while an earlier chunk is still awaited: without a handler, that would end the process.
  piece.catch(() => {})
  return piece
}
