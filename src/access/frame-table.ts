/** Where each frame of a compressed archive is, and where its content is in the archive's stream. */

import { VmapipeError } from '../core/errors.ts'
import { formatBytes } from '../core/size.ts'
import { decodeFooter, decodeFrameMap, type Frame, TAIL_SIZE } from '../formats/frame-map/frame-map.ts'
import type { ArchiveBytes } from './archive-bytes.ts'

/** The map of an archive of 8 TiB in frames of 1 MiB takes about that. */
const MAP_LIMIT = 64 << 20

export class FrameTable {
  /** Where each frame begins in the file, and behind the last one where it ends. */
  readonly starts: Float64Array
  /** Where the content of each begins in the stream, and behind the last where it ends. */
  readonly contents: Float64Array

  constructor(frames: readonly Frame[]) {
    this.starts = new Float64Array(frames.length + 1)
    this.contents = new Float64Array(frames.length + 1)
    for (const [at, { bytes, contentBytes }] of frames.entries()) {
      this.starts[at + 1] = this.starts[at] + bytes
      this.contents[at + 1] = this.contents[at] + contentBytes
    }
  }

  get frames(): number {
    return this.starts.length - 1
  }

  get contentBytes(): number {
    return this.contents[this.frames]
  }

  /** The frame that holds this byte of the stream, which is within it. */
  frameAt(offset: number): number {
    let low = 0
    let high = this.frames
    while (high - low > 1) {
      const middle = (low + high) >>> 1
      if (this.contents[middle] <= offset) low = middle
      else high = middle
    }
    return low
  }

  /** The most bytes of a frame that has content, and the most content. */
  get largest(): { bytes: number; contentBytes: number } {
    const largest = { bytes: 0, contentBytes: 0 }
    for (let frame = 0; frame < this.frames; frame++) {
      const contentBytes = this.contents[frame + 1] - this.contents[frame]
      if (contentBytes > 0) largest.bytes = Math.max(largest.bytes, this.starts[frame + 1] - this.starts[frame])
      largest.contentBytes = Math.max(largest.contentBytes, contentBytes)
    }
    return largest
  }

  toFrames(): Frame[] {
    return Array.from({ length: this.frames }, (_, frame) => ({
      bytes: this.starts[frame + 1] - this.starts[frame],
      contentBytes: this.contents[frame + 1] - this.contents[frame],
    }))
  }
}

/** The map that an archive of ours ends with; null where there is none. Throws DAMAGED where it is not right. */
export async function readFrameTable(file: ArchiveBytes): Promise<FrameTable | null> {
  const tail = Buffer.allocUnsafe(Math.min(TAIL_SIZE, file.size))
  await file.read(tail, file.size - tail.length)
  const footer = decodeFooter(tail)
  if (footer === null) return null
  const { frameBytes, heldBytes, length } = footer
  if (frameBytes + heldBytes + length !== file.size)
    throw new VmapipeError('DAMAGED', 'the map of its frames does not fit into the file', {
      offset: file.size - length,
    })
  if (heldBytes > MAP_LIMIT) throw new VmapipeError('DAMAGED', `a map of ${formatBytes(heldBytes)} is too large`)
  const held = Buffer.allocUnsafe(heldBytes)
  await file.read(held, frameBytes)
  return new FrameTable(decodeFrameMap(held, footer))
}
