/**
 * Memory for reading an archive in any order: a cache of its pieces, and room for compressed frames. The archives of a chain share
 * both, however many they are.
 */

import type { Budget } from '../core/budget.ts'
import { VmapipeError } from '../core/errors.ts'
import { formatBytes } from '../core/size.ts'
import { MAX_EXTENT_SIZE } from '../formats/vma/extent.ts'
import type { FrameTable } from './frame-table.ts'
import { PieceCache } from './piece-cache.ts'

/** The number of frames whose content must fit into memory. */
const LEAST_FRAMES = 3
/** A chain has room for so many compressed frames of 1 MiB and more at once; a budget below that has a third of itself. */
const CHAIN_INPUTS = 8 << 20
const LEAST_INPUT = 64 << 10
/** Keys of the pieces of one archive in the cache: more than a file can have. */
const KEYS = 2 ** 40
/** The most archives of a chain that load in advance at the same time, for the share of the cache of each. */
const AHEAD = 4

export interface ReadingMemory {
  /** Compressed frames that are being decoded. */
  inputs: Budget
  /** The memory to take for a compressed frame of so many bytes: of few sizes, so that buffers are used again. */
  inputRoom: (bytes: number) => number
  cache: PieceCache
  /** The key of the archive's first piece in the cache. */
  first: number
  /** Bytes that the archive may load in advance. */
  window: number
  /** Ends the memory, unless other archives use it. Pieces that are being loaded are waited for. */
  close(): Promise<void>
}

/** The number of frames that may be decoded at once; 0 if there is not enough memory. */
export function atOnceIn(table: FrameTable, budget: Budget, threads: number): number {
  const { bytes, contentBytes } = table.largest
  const atOnce = Math.max(1, Math.min(threads + 2, Math.floor(budget.capacity / 3 / Math.max(1, bytes))))
  return bytes * atOnce + LEAST_FRAMES * contentBytes <= budget.capacity ? atOnce : 0
}

/** Takes the whole budget for the frames of one archive. Throws USAGE if it is too small for the largest frame. */
export function memoryForFrames(table: FrameTable, budget: Budget, threads: number): ReadingMemory {
  const { bytes, contentBytes } = table.largest
  const atOnce = atOnceIn(table, budget, threads)
  if (atOnce === 0)
    throw new VmapipeError('USAGE', `frames of ${formatBytes(contentBytes)} do not fit into memory`, {
      hint: `allow a --buffer of ${formatBytes(bytes + LEAST_FRAMES * contentBytes)}`,
    })
  const inputs = budget.carve(bytes * atOnce, 'reading compressed frames')
  const cache = new PieceCache(budget.carve(budget.capacity, 'the content of frames'), atOnce)
  return { inputs, inputRoom: () => bytes, cache, first: 0, window: cache.capacity / 2, close: () => cache.close() }
}

/** Takes the whole budget for the extents of one archive that is not compressed. */
export function memoryForExtents(budget: Budget, threads: number): ReadingMemory {
  const cache = new PieceCache(budget.carve(budget.capacity, 'reading the archive'), threads + 2)
  return {
    inputs: budget,
    inputRoom: (bytes) => bytes,
    cache,
    first: 0,
    window: cache.capacity / 2,
    close: () => cache.close(),
  }
}

/** The memory of a chain. */
export class ChainMemory {
  readonly #inputs: Budget
  readonly #cache: PieceCache
  #archives = 0
  /** Bytes of the largest piece of any archive. */
  #largest = MAX_EXTENT_SIZE

  /** Takes the whole budget. */
  constructor(budget: Budget, threads: number) {
    const inputs = Math.min(CHAIN_INPUTS, Math.floor(budget.capacity / 3))
    this.#inputs = budget.carve(inputs, 'reading compressed frames')
    this.#cache = new PieceCache(budget.carve(budget.capacity, 'reading the archives'), threads + 2)
  }

  /** Whether frames of this size can be decoded by themselves. */
  fits({ largest: { bytes, contentBytes } }: FrameTable): boolean {
    return bytes <= this.#inputs.capacity && LEAST_FRAMES * contentBytes <= this.#cache.capacity
  }

  /** The share of one more archive, whose frames these are. */
  next(table: FrameTable | null): ReadingMemory {
    this.#largest = Math.max(this.#largest, table?.largest.contentBytes ?? 0)
    const first = KEYS * this.#archives++
    const window = this.#cache.capacity / 2 / AHEAD
    const { capacity } = this.#inputs
    // The largest frames of the archives differ, and those with headers and indexes are small.
    const inputRoom = (bytes: number) => Math.min(capacity, Math.max(LEAST_INPUT, 2 ** Math.ceil(Math.log2(bytes))))
    return { inputs: this.#inputs, inputRoom, cache: this.#cache, first, window, close: async () => {} }
  }

  /** Memory of the cache that reading can do without, for clusters that are kept until their turn. Call it once, when all archives are open. */
  spare(): Budget {
    return this.#cache.spare(LEAST_FRAMES * this.#largest, 'clusters before their turn')
  }

  /** Ends the memory. Call it before the archives are closed. */
  close(): Promise<void> {
    return this.#cache.close()
  }
}
