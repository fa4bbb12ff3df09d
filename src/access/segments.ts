/** Finds the bytes of a drive in an extent. */

import { BLOCK_SIZE, BLOCKS_PER_CLUSTER, CLUSTER_SIZE, FULL_MASK, popcount16 } from '../core/geometry.ts'
import { EXTENT_HEADER_SIZE, type Slot } from '../formats/vma/extent.ts'

/** Bytes of a drive that are all zero, or that are contiguous in the archive. */
interface Segment {
  /** The offset in the extent, counted from its header; -1 for zeroes. */
  at: number
  length: number
}

/**
 * The bytes `offset` to `end` (not included) of a drive, as segments that are as long as possible. The slots must have all of their
 * clusters.
 */
export function segmentsOf(slots: readonly Slot[], drive: number, offset: number, end: number): Segment[] {
  const segments: Segment[] = []
  const cursor = new SlotCursor(slots, drive)
  for (let position = offset; position < end; ) {
    const cluster = Math.floor(position / CLUSTER_SIZE)
    const mask = cursor.find(cluster)
    const from = position - cluster * CLUSTER_SIZE
    const to = Math.min(end - cluster * CLUSTER_SIZE, CLUSTER_SIZE)
    addCluster(segments, mask, cursor.at, from, to)
    position += to - from
  }
  return segments
}

/** Adds the bytes `from` to `to` of a cluster whose stored blocks begin at byte `at` of the extent. */
function addCluster(segments: Segment[], mask: number, at: number, from: number, to: number): void {
  for (let position = from; position < to; ) {
    const block = Math.floor(position / BLOCK_SIZE)
    const isStored = ((mask >>> block) & 1) === 1
    let next = block + 1
    if (mask === 0 || mask === FULL_MASK) next = BLOCKS_PER_CLUSTER
    const stop = Math.min(to, next * BLOCK_SIZE)
    const before = popcount16(mask & ((1 << block) - 1)) * BLOCK_SIZE
    add(segments, isStored ? at + before + (position % BLOCK_SIZE) : -1, stop - position)
    position = stop
  }
}

function add(segments: Segment[], at: number, length: number): void {
  const last = segments.at(-1)
  const goesOn = last !== undefined && (at < 0 ? last.at < 0 : last.at >= 0 && last.at + last.length === at)
  if (goesOn) last.length += length
  else segments.push({ at, length })
}

/** Finds slots. It is quickest if they are wanted in the order of the extent. */
class SlotCursor {
  readonly #slots: readonly Slot[]
  readonly #drive: number
  #index = 0
  /** The offset in the extent of the blocks of the slot that was found. */
  at = EXTENT_HEADER_SIZE

  constructor(slots: readonly Slot[], drive: number) {
    this.#slots = slots
    this.#drive = drive
  }

  /** The mask of this cluster, which must be in the extent. */
  find(cluster: number): number {
    for (let passed = 0; passed < this.#slots.length; passed++) {
      const slot = this.#slots[this.#index]
      if (slot.cluster === cluster && slot.drive === this.#drive) return slot.mask
      this.at += popcount16(slot.mask) * BLOCK_SIZE
      if (++this.#index < this.#slots.length) continue
      this.#index = 0
      this.at = EXTENT_HEADER_SIZE
    }
    return 0
  }
}
