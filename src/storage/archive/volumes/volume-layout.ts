/** Where the volumes of an archive lie in it. */

/** Reads from one volume, `offset` bytes behind its beginning. */
type ReadVolume = (index: number, buffer: Uint8Array, offset: number) => Promise<void>

export class VolumeLayout {
  /** Bytes of all volumes. */
  readonly size: number
  readonly #sizes: readonly number[]
  /** Where each volume begins. */
  readonly #starts: number[] = []

  constructor(sizes: readonly number[]) {
    this.#sizes = sizes
    let size = 0
    for (const one of sizes) {
      this.#starts.push(size)
      size += one
    }
    this.size = size
  }

  /** Fills the buffer from `offset` of the archive on, from all volumes that it takes at once. */
  async read(buffer: Uint8Array, offset: number, readVolume: ReadVolume): Promise<void> {
    const parts: Promise<void>[] = []
    for (let at = 0; at < buffer.byteLength; ) {
      const index = this.#volumeAt(offset + at)
      const within = offset + at - this.#starts[index]
      const length = Math.min(buffer.byteLength - at, this.#sizes[index] - within)
      parts.push(readVolume(index, buffer.subarray(at, at + length), within))
      at += length
    }
    // If one fails, the memory is still written to until all have ended.
    for (const part of await Promise.allSettled(parts)) if (part.status === 'rejected') throw part.reason
  }

  /** The volume with this byte: the last one that begins at it or before. Empty volumes have none. */
  #volumeAt(offset: number): number {
    let low = 0
    let high = this.#starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.#starts[middle] <= offset) low = middle
      else high = middle - 1
    }
    return low
  }
}
