/**
 * Reads clusters out of compressed frames without decoding more of a frame than is in front of them. As the frame's checksum is at its
 * end, each cluster is checked by its own hash. It is no error if that cannot be done: the frame is then decoded as a whole.
 */

import { BLOCK_SIZE, popcount16 } from '../core/geometry.ts'
import { type ClusterHasher, clusterHasher } from '../formats/vma/cluster-hash.ts'
import { EXTENT_HEADER_SIZE, type ExtentHeader } from '../formats/vma/extent.ts'
import type { ArchiveHashes } from './archive-hashes.ts'
import type { FramedStream } from './framed-stream.ts'
import type { View } from './piece-cache.ts'

/** A stored cluster, and the bytes of the extent that it takes. */
interface Stored {
  drive: number
  cluster: number
  mask: number
  from: number
  to: number
}

export class CheckedClusters {
  readonly #frames: FramedStream
  readonly #hashes: () => Promise<ArchiveHashes | null>
  #reader: Promise<{ hashes: ArchiveHashes; hasher: ClusterHasher } | null> | undefined

  constructor(frames: FramedStream, hashes: () => Promise<ArchiveHashes | null>) {
    this.#frames = frames
    this.#hashes = hashes
  }

  /** At most `length` bytes of the extent at byte `offset` of the stream, from its byte `at`; null if the frame must be decoded as a whole. */
  async view(offset: number, header: ExtentHeader, at: number, length: number): Promise<View | null> {
    this.#reader ??= this.#prepare()
    const reader = await this.#reader
    const wanted = reader && storedIn(header, at, length)
    if (!wanted || wanted.length === 0) return null
    const { hashes, hasher } = reader
    // Read before the frame is held: there may be memory for one frame only.
    const expected: Uint8Array[] = []
    try {
      for (const { drive, cluster } of wanted) expected.push(await hashes.read(drive, cluster, 1))
    } catch {
      return null
    }
    const [first, last] = [wanted[0], wanted.at(-1)!]
    const begun = await this.#frames.begun(offset + first.from, offset + last.to)
    if (begun === null) return null
    const { frame, content } = begun
    const bytesOf = (from: number, to: number) => frame.bytes.subarray(offset + from - content, offset + to - content)
    for (const [index, { from, to, mask }] of wanted.entries()) {
      const place = offset + from - content
      if (frame.checked.has(place)) continue
      if (Buffer.compare(hasher.hashes([mask], [bytesOf(from, to)]), expected[index]) !== 0) {
        frame.lease.release()
        return null
      }
      frame.checked.add(place)
    }
    return { bytes: bytesOf(at, Math.min(at + length, last.to)), lease: frame.lease }
  }

  async #prepare() {
    try {
      const hashes = await this.#hashes()
      return hashes && { hashes, hasher: await clusterHasher() }
    } catch {
      return null
    }
  }
}

/** The stored clusters of an extent with its bytes `at` to `at + length`. */
function storedIn({ slots }: ExtentHeader, at: number, length: number): Stored[] {
  const found: Stored[] = []
  let to = EXTENT_HEADER_SIZE
  for (const { drive, cluster, mask } of slots) {
    const from = to
    if (from >= at + length) break
    to += popcount16(mask) * BLOCK_SIZE
    if (to > at && mask !== 0) found.push({ drive, cluster, mask, from, to })
  }
  return found
}
