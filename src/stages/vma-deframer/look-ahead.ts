/**
 * Lets extents be hashed before it is their turn, beside the event loop, as soon as their data has come. What it finds are guesses: it
 * takes for granted that one extent follows the other. The reader checks each place again, and asks only for what begins there.
 */

import type { ClusterHashing } from '../../codecs/hashing/cluster-hashing.ts'
import type { ByteQueue } from '../../core/byte-queue.ts'
import { BLOCK_SIZE } from '../../core/geometry.ts'
import { decodeExtentHeader, EXTENT_HEADER_SIZE, type ExtentHeader } from '../../formats/vma/extent.ts'
import { hasHashes, masksOf, NO_HASHES } from '../../formats/vma/extent-check.ts'

/** An extent whose data has come. Null for hashes that the archive does not have. */
interface Ahead {
  header: ExtentHeader
  hashes: Uint8Array | Promise<Uint8Array> | null
}

export class LookAhead {
  readonly #queue: ByteQueue
  readonly #uuid: Buffer
  readonly #hashing: ClusterHashing
  /** By their place in the stream. */
  readonly #known = new Map<number, Ahead>()
  /** The end of the last of them. */
  #end = 0

  constructor(queue: ByteQueue, uuid: Buffer, hashing: ClusterHashing) {
    this.#queue = queue
    this.#uuid = uuid
    this.#hashing = hashing
  }

  /** The header of the extent at this place, if it was found to be right. */
  headerAt(offset: number): ExtentHeader | undefined {
    return this.#known.get(offset)?.header
  }

  /** The hashes of this extent, which is the next one, at once or later; null if it has none. Extents behind it begin to be hashed. */
  hashes(extent: ExtentHeader & { offset: number }): Ahead['hashes'] {
    const known = this.#known.get(extent.offset)
    const hashes = known === undefined ? this.#begin(extent, 0) : known.hashes
    if (known === undefined) this.#end = this.#queue.position + extent.blocks * BLOCK_SIZE
    for (const place of this.#known.keys()) {
      if (place > extent.offset) break
      this.#known.delete(place)
    }
    if (this.#hashing.isBeside) this.#look()
    return hashes
  }

  #look(): void {
    const { position, length } = this.#queue
    while (this.#end - position + EXTENT_HEADER_SIZE <= length) {
      const offset = this.#end
      const data = offset - position + EXTENT_HEADER_SIZE
      const header = this.#decode(offset)
      if (header === null || data + header.blocks * BLOCK_SIZE > length) return
      this.#known.set(offset, { header, hashes: this.#begin(header, data) })
      this.#end = position + data + header.blocks * BLOCK_SIZE
    }
  }

  #decode(offset: number): ExtentHeader | null {
    const at = offset - this.#queue.position
    try {
      return decodeExtentHeader(this.#queue.peek(EXTENT_HEADER_SIZE, at), this.#uuid, offset)
    } catch {
      // The reader finds it again, and says what is wrong.
      return null
    }
  }

  /** Begins to hash the extent whose data is at `at` of the queue. */
  #begin(header: ExtentHeader, at: number): Ahead['hashes'] {
    if (!hasHashes(header)) return null
    if (header.blocks === 0) return NO_HASHES
    const { buffers: blocks, leases } = this.#queue.lookAt(at, header.blocks * BLOCK_SIZE)
    return this.#hashing.hashes({ masks: masksOf(header.slots), blocks, leases })
  }
}
