/** A drive that can also be had as a stream of chunks, and how one is made of any drive. */

import type { Budget } from '../core/budget.ts'
import { VmapipeError } from '../core/errors.ts'
import { Chunk } from '../core/items.ts'
import { zeroes } from '../core/zero.ts'
import type { DriveExtent, DriveReader } from '../storage/drive.ts'

/** Bytes of a drive that lie together in its archive. */
export interface Placed {
  offset: number
  length: number
  /** Which extent has them: the numbers rise from the front of the archive to its end. -1 where none has. */
  extent: number
  /** False where all of them are zero. */
  stored: boolean
}

export interface ImageReader extends DriveReader {
  /**
   * The bytes from `offset` in order, in chunks of any size up to a few MiB, and what comes next is read meanwhile. Each is
   * to be released before the next is asked for.
   */
  chunks(offset: number, length: number): AsyncGenerator<Chunk>
  /** Where the range is in the archive, in the order of the drive; only where something is unpacked as it is read. */
  places?(offset: number, length: number): Iterable<Placed>
}

/** Zeroes of a chunk at most. */
const ZERO_CHUNK = 1 << 20
/** Data of a chunk, and chunks that are read at once. */
const DATA_CHUNK = 1 << 20
const AHEAD = 4

/** `length` zeroes, without memory of their own. */
export function* zeroChunks(length: number): Generator<Chunk> {
  for (let left = length; left > 0; left -= ZERO_CHUNK) {
    const buffers: Uint8Array[] = []
    for (let rest = Math.min(left, ZERO_CHUNK); rest > 0; rest -= buffers.at(-1)!.byteLength) buffers.push(zeroes(rest))
    yield new Chunk(buffers)
  }
}

/** The same of a drive whose reads take memory of `budget`. */
export async function* chunksOf(
  drive: DriveReader,
  budget: Budget,
  offset: number,
  length: number,
): AsyncGenerator<Chunk> {
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

/** One of several users of a drive, which stays open when this one closes it. */
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
  // It may fail while an earlier one is still awaited.
  piece.catch(() => {})
  return piece
}
