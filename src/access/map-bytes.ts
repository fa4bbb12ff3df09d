/** Reads the bytes of a map of frames from a file or from memory, piece by piece, because a map may be larger than memory. */

import { VmapipeError } from '../core/errors.ts'
import { headerFor, pieceBytes, wrappedBytes } from '../formats/frame-map/container.ts'
import type { Footer } from '../formats/frame-map/frame-map.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'

export interface MapBytes {
  readonly size: number
  /** Reads bytes of the map. Throws DAMAGED if their wrapper is wrong. */
  read(offset: number, length: number): Promise<Buffer>
}

export function mapInMemory(bytes: Buffer): MapBytes {
  return { size: bytes.length, read: async (offset, length) => bytes.subarray(offset, offset + length) }
}

/** The map in a file, to which the footer leads. */
export class MapInFile implements MapBytes {
  readonly size: number
  readonly #file: ArchiveBytes
  readonly #footer: Footer

  constructor(file: ArchiveBytes, footer: Footer) {
    this.size = footer.mapBytes
    this.#file = file
    this.#footer = footer
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const { container } = this.#footer
    if (container === 'skippable') return this.#skippable(offset, length)
    const piece = pieceBytes(container)
    const parts: Buffer[] = []
    for (let at = Math.floor(offset / piece) * piece; at < offset + length; at += piece) {
      const bytes = await this.#member(at, Math.min(piece, this.size - at))
      parts.push(bytes.subarray(Math.max(0, offset - at), offset + length - at))
    }
    return Buffer.concat(parts)
  }

  async #skippable(offset: number, length: number): Promise<Buffer> {
    const { frameBytes, container } = this.#footer
    const header = headerFor(this.size, container)
    if (offset === 0 && !header.equals(await this.#bytes(frameBytes, header.length))) throw this.#damaged()
    return this.#bytes(frameBytes + header.length + offset, length)
  }

  /** Reads a whole piece from its gzip member. */
  async #member(at: number, length: number): Promise<Buffer> {
    const { frameBytes, container } = this.#footer
    const member = await this.#bytes(frameBytes + wrappedBytes(at, container), wrappedBytes(length, container))
    const header = headerFor(length, container)
    if (!member.subarray(0, header.length).equals(header)) throw this.#damaged()
    return member.subarray(header.length, header.length + length)
  }

  async #bytes(offset: number, length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length)
    await this.#file.read(bytes, offset)
    return bytes
  }

  #damaged(): VmapipeError {
    const offset = this.#footer.frameBytes
    return new VmapipeError('DAMAGED', "the map of the archive's frames is damaged", { offset })
  }
}
