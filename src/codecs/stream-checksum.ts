/** Checks all bytes of a compressed archive against the checksum in its footer (formats/frame-map/README.md). */

import { crc32 } from 'node:zlib'
import { VmapipeError } from '../core/errors.ts'
import { decodeFooter, hasFooterMagic, TAIL_SIZE } from '../formats/frame-map/frame-map.ts'

/** "V": an archive that begins with it is not compressed. */
const PLAIN = 0x56

export class StreamChecksum {
  #plain: boolean | null = null
  #checksum = 0
  #bytes = 0
  /** The last bytes so far. They are not in the checksum yet, because they may be the footer. */
  #tail: Buffer = Buffer.alloc(0)
  #counts = true

  /** The last bytes so far, TAIL_SIZE of them. */
  get tail(): Buffer {
    return this.#tail
  }

  /** Adds bytes that were used, in order. */
  add(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.#plain ??= bytes[0] === PLAIN
    if (!this.#plain) this.#add(bytes)
  }

  /** Ends the checksum. From here on bytes may come again, or do not belong to the archive; only the last bytes are kept. */
  stop(): void {
    this.#counts = false
  }

  /** Whether the bytes that were used last may be a footer. */
  get mayEnd(): boolean {
    return hasFooterMagic(this.#tail)
  }

  /**
   * Whether a footer ends here, behind its map and its frames. Throws DAMAGED if its checksum says that the bytes have changed, or if
   * the footer itself is damaged.
   */
  footer(): boolean {
    if (this.#plain !== false || !this.#counts) return false
    const offset = this.#bytes + this.#tail.length
    const footer = decodeFooter(this.#tail)
    if (footer === null) return false
    const { length, checksum, frameBytes, wrappedBytes } = footer
    const before = offset - length
    if (before === frameBytes + wrappedBytes && crc32(this.#tail.subarray(0, -length), this.#checksum) === checksum)
      return true
    const message = `a checksum of all ${frameBytes + wrappedBytes} bytes before the footer of the archive is wrong`
    throw new VmapipeError('DAMAGED', message, { offset: before })
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
    if (this.#counts) this.#checksum = crc32(bytes, this.#checksum)
    this.#bytes += bytes.length
  }
}
