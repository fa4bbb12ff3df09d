/** Reverses the zero elider: makes ranges of data and ranges of zeroes from clusters with masks. Nothing is copied. */

import { BlockCursor } from '../core/block-cursor.ts'
import type { Counters } from '../core/counters.ts'
import { VmapipeError } from '../core/errors.ts'
import { BLOCK_SIZE, BLOCKS_PER_CLUSTER, CLUSTER_SIZE, clusterMask, FULL_MASK } from '../core/geometry.ts'
import { type ClusterItem, type DriveInfo, Range, type RangeItem, type Run } from '../core/items.ts'
import { defineStage, z } from '../core/stage.ts'
import { stepWithFlush } from '../core/steps.ts'
import { refuseIncremental } from '../formats/vma/header.ts'

/**
 * Makes ranges of clusters: bytes of drives, or zeroes.
 *
 *     await definePipeline([source({ from: 'vm.vma' }), vmaDeframer(), zeroExpander(), clusterWriter({ into: 'vm' })]).run()
 */
export const zeroExpander = defineStage({
  name: 'zero-expander',
  summary: 'makes ranges of data and of zeroes out of clusters',
  input: 'clusters',
  output: 'ranges',
  options: z.strictObject({}),
  create(_, { counters }) {
    const expander = new Expander(counters)
    return stepWithFlush(
      (item: ClusterItem) => expander.expand(item),
      () => expander.flush(),
    )
  },
})

/** Ranges of zeroes are joined up to this size, so that a hole is a few requests and progress is still visible. */
const MAX_ZERO_RANGE = 1 << 30

class Expander {
  readonly #counters: Counters
  readonly #drives = new Map<number, DriveInfo>()
  /** A range of zeroes that may still grow. */
  #zeroes: { drive: number; offset: number; length: number } | null = null

  constructor(counters: Counters) {
    this.#counters = counters
  }

  *expand(item: ClusterItem): Generator<RangeItem> {
    if (item.kind === 'manifest') {
      refuseIncremental(item)
      for (const drive of item.drives) this.#drives.set(drive.id, drive)
      yield item
      return
    }
    const { size } = this.#drives.get(item.drive) ?? unknownDrive(item.drive)
    const cursor = new BlockCursor(item.blocks)
    for (const { offset, blocks, stored } of blockSpans(item, size)) {
      const length = Math.min(blocks * BLOCK_SIZE, size - offset)
      if (stored) {
        yield* this.flush()
        yield this.#data(item, offset, length, blocks, cursor)
      } else {
        yield* this.#zero(item.drive, offset, length)
      }
    }
    item.release()
  }

  *flush(): Generator<Range> {
    if (this.#zeroes === null) return
    const { drive, offset, length } = this.#zeroes
    this.#zeroes = null
    yield new Range(drive, offset, length, null)
  }

  #data(run: Run, offset: number, length: number, blocks: number, cursor: BlockCursor): Range {
    const views: Uint8Array[] = []
    cursor.take(length, views)
    // The bytes that the last block has past the drive's end.
    if (blocks * BLOCK_SIZE > length) cursor.take(blocks * BLOCK_SIZE - length, [])
    for (const lease of run.leases) lease.retain()
    return new Range(run.drive, offset, length, views, run.leases)
  }

  *#zero(drive: number, offset: number, length: number): Generator<Range> {
    this.#counters.add('zero', length)
    const before = this.#zeroes
    if (before?.drive === drive && before.offset + before.length === offset && before.length < MAX_ZERO_RANGE) {
      before.length += length
      return
    }
    yield* this.flush()
    this.#zeroes = { drive, offset, length }
  }
}

interface BlockSpan {
  /** Bytes from the start of the drive. */
  offset: number
  blocks: number
  stored: boolean
}

/** The run as blockSpans of blocks that are all stored or all not. Those past the drive's end are left out. */
function* blockSpans(run: Run, size: number): Generator<BlockSpan> {
  let open: BlockSpan | null = null
  for (let index = 0; index < run.count; index++) {
    const cluster = run.first + index
    const present = clusterMask(size, cluster)
    const stored = run.isZero ? 0 : run.masks === null ? present : run.masks[index]
    if ((stored & ~present) !== 0)
      throw new VmapipeError('STAGE', 'a block past the end of the drive is stored', { cluster })
    const whole: boolean | null = stored === 0 ? false : stored === FULL_MASK ? true : null
    const pieces = whole === null || present !== FULL_MASK ? BLOCKS_PER_CLUSTER : 1
    for (let piece = 0; piece < pieces; piece++) {
      if (pieces > 1 && ((present >>> piece) & 1) === 0) break
      const kept = pieces === 1 ? whole === true : ((stored >>> piece) & 1) === 1
      const blocks = BLOCKS_PER_CLUSTER / pieces
      if (open !== null && open.stored === kept) {
        open.blocks += blocks
        continue
      }
      if (open !== null) yield open
      open = { offset: cluster * CLUSTER_SIZE + piece * BLOCK_SIZE, blocks, stored: kept }
    }
  }
  if (open !== null) yield open
}

function unknownDrive(id: number): never {
  throw new VmapipeError('STAGE', `clusters of drive ${id} came, which the manifest does not have`)
}
