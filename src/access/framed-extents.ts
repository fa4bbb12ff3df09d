/** Reads extents of a compressed archive. Its frames have checksums of their own. */

import type { ExtentHeader } from '../formats/vma/extent.ts'
import type { ClusterIndex } from './cluster-index.ts'
import type { ExtentData } from './extent-data.ts'
import type { FramedStream } from './framed-stream.ts'
import type { View } from './piece-cache.ts'

export class FramedExtents implements ExtentData {
  readonly window = 16
  readonly #frames: FramedStream
  readonly #index: ClusterIndex

  constructor(frames: FramedStream, index: ClusterIndex) {
    this.#frames = frames
    this.#index = index
  }

  /** The place of the header is certain, because it was read. The place of the data is right if the map is right about all frames between. */
  async view(extent: number, _header: ExtentHeader, at: number, length: number): Promise<View> {
    const offset = this.#index.offsets[extent]
    await this.#frames.agree(offset, offset + at)
    return this.#frames.view(offset + at, length)
  }

  ahead(extents: readonly number[]): void {
    const { offsets } = this.#index
    this.#frames.ahead(
      extents.map((extent) => ({ offset: offsets[extent], length: offsets[extent + 1] - offsets[extent] })),
    )
  }

  isDecodedWith(extent: number, other: number): boolean {
    return this.#frames.isOneFrame(this.#index.offsets[extent], this.#index.offsets[other])
  }

  close(): Promise<void> {
    return this.#frames.close()
  }
}
