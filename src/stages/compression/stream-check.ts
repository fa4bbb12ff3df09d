/** Every byte of a compressed archive of ours, against the checksum in its footer (formats/frame-map/README.md). */

import { crc32 } from 'node:zlib'
import { VmapipeError } from '../../core/errors.ts'
import type { Chunk } from '../../core/items.ts'
import { decodeFooter, TAIL_SIZE } from '../../formats/frame-map/frame-map.ts'

/** "V", which no compressed archive begins with: it is one that is not compressed. */
const PLAIN = 0x56

export class StreamCheck {
  #plain: boolean | null = null
  #checksum = 0
  #bytes = 0
  /** The last bytes so far, which may be the footer: not in the checksum yet. */
  #tail: Buffer = Buffer.alloc(0)

  add({ buffers }: Chunk): void {
    for (const bytes of buffers) {
      if (bytes.length === 0) continue
      this.#plain ??= bytes[0] === PLAIN
      if (this.#plain) return
      this.#add(bytes)
    }
  }

  /** All has come. Throws DAMAGED where the footer says that it is not what was written. */
  finish(): void {
    if (this.#plain !== false) return
    const offset = this.#bytes + this.#tail.length
    const footer = decodeFooter(this.#tail)
    if (footer === null) return
    const { length, checksum, frameBytes, heldBytes } = footer
    const before = offset - length
    this.#checksum = crc32(this.#tail.subarray(0, -length), this.#checksum)
    if (before !== frameBytes + heldBytes || this.#checksum !== checksum) {
      const message = `a checksum of all ${frameBytes + heldBytes} bytes before the footer of the archive is wrong`
      throw new VmapipeError('DAMAGED', message, { offset: before })
    }
  }

  #add(bytes: Uint8Array): void {
    if (bytes.length >= TAIL_SIZE) {
      this.#digest(this.#tail)
      this.#digest(bytes.subarray(0, -TAIL_SIZE))
      this.#tail = Buffer.from(bytes.subarray(-TAIL_SIZE))
      return
    }
    const tail = Buffer.concat([this.#tail, bytes])
    this.#digest(tail.subarray(0, Math.max(0, tail.length - TAIL_SIZE)))
    this.#tail = tail.subarray(-TAIL_SIZE)
  }

  #digest(bytes: Uint8Array): void {
    this.#checksum = crc32(bytes, this.#checksum)
    this.#bytes += bytes.length
  }
}
