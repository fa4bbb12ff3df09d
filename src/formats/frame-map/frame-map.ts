/** Encodes and decodes the map of a compressed archive's frames, and the footer that leads to it (README.md beside this file). */

import { crc32 } from 'node:zlib'
import { VmapipeError } from '../../core/errors.ts'
import { VarintWriter } from '../varint.ts'
import {
  type Container,
  FOOTER_SIZE,
  MEMBER_END_SIZE,
  startsWrapper,
  TAIL_SIZE,
  unwrapFooter,
  wrap,
  wrappedBytes,
} from './container.ts'

export type { Container } from './container.ts'
export { TAIL_SIZE } from './container.ts'

const MAGIC = Buffer.from('VMAPFMAP', 'latin1')
const VERSION = 1

export interface Footer {
  container: Container
  mapChecksum: number
  /** Bytes of the map alone. */
  mapBytes: number
  /** Bytes of all frames: the wrapper of the map begins there. */
  frameBytes: number
  /** Bytes of the map with its wrappers. */
  wrappedBytes: number
  /** CRC-32 of all bytes before the wrapper of the footer. */
  checksum: number
  /** Bytes of the footer with its wrapper. */
  length: number
}

export interface Frame {
  bytes: number
  contentBytes: number
}

/** The entries of a map, in several buffers: one large buffer would be copied each time it grows. */
export class FrameMapEntries {
  readonly #full: Buffer[] = []
  #last = new VarintWriter()
  #length = 0
  count = 0

  /** Bytes of all entries. */
  get length(): number {
    return this.#length + this.#last.bytes.length
  }

  add(bytes: number, contentBytes: number): void {
    this.count++
    this.#last.add(bytes, contentBytes)
    if (this.#last.bytes.length < BUFFER_BYTES) return
    this.#full.push(Buffer.from(this.#last.bytes))
    this.#length += this.#last.bytes.length
    this.#last.clear()
  }

  /** The whole map, in several buffers. */
  finish(): Buffer[] {
    const count = new VarintWriter()
    count.add(this.count)
    return [count.bytes, ...this.#full, this.#last.bytes]
  }
}

/** A buffer of entries is full at 1 MiB. */
const BUFFER_BYTES = 1 << 20

/** Makes the map while frames are written. */
export class FrameMapWriter {
  readonly #container: Container
  readonly #entries = new FrameMapEntries()
  #bytes = 0
  #checksum = 0

  constructor(container: Container) {
    this.#container = container
  }

  /** Adds the next frame, whose bytes are in these buffers, in order. */
  add(buffers: readonly Uint8Array[], contentBytes: number): void {
    const bytes = this.#digest(buffers)
    this.#bytes += bytes
    this.#entries.add(bytes, contentBytes)
  }

  /** The end of the archive: the map and the footer, in their wrappers. */
  finish(): Buffer[] {
    const map = Buffer.concat(this.#entries.finish())
    const wrapped = wrap(map, this.#container)
    this.#digest(wrapped)
    const footer = Buffer.alloc(FOOTER_SIZE)
    MAGIC.copy(footer)
    footer.writeUInt32LE(VERSION, 8)
    footer.writeUInt32LE(crc32(map), 12)
    footer.writeBigUInt64LE(BigInt(map.length), 16)
    footer.writeBigUInt64LE(BigInt(this.#bytes), 24)
    footer.writeUInt32LE(this.#checksum, 32)
    footer.writeUInt32LE(crc32(footer.subarray(0, 36)), 36)
    return [...wrapped, ...wrap(footer, this.#container)]
  }

  #digest(buffers: readonly Uint8Array[]): number {
    let bytes = 0
    for (const buffer of buffers) {
      this.#checksum = crc32(buffer, this.#checksum)
      bytes += buffer.length
    }
    return bytes
  }
}

/**
 * Decodes the footer in the last TAIL_SIZE bytes of an archive, or in all bytes of a shorter one. Returns null if there is no
 * footer or its version is not known. Throws DAMAGED if the footer is wrong.
 */
export function decodeFooter(tail: Buffer): Footer | null {
  const found = unwrapFooter(tail, MAGIC)
  if (found === null) return null
  const { footer, container, intact, length } = found
  if (!intact || footer.readUInt32LE(36) !== crc32(footer.subarray(0, 36)) || !footer.subarray(0, 8).equals(MAGIC))
    throw new VmapipeError('DAMAGED', 'the footer at the end of the compressed archive is damaged')
  if (footer.readUInt32LE(8) !== VERSION) return null
  const mapBytes = Number(footer.readBigUInt64LE(16))
  return {
    container,
    mapChecksum: footer.readUInt32LE(12),
    mapBytes,
    frameBytes: Number(footer.readBigUInt64LE(24)),
    wrappedBytes: wrappedBytes(mapBytes, container),
    checksum: footer.readUInt32LE(32),
    length,
  }
}

/** Whether these bytes begin a map or a footer, or what is left of one. */
export function startsMapOrFooter(start: Buffer): boolean {
  return startsWrapper(start) || hasFooterMagic(start.subarray(0, TAIL_SIZE))
}

/** The same as decodeFooter, but null also if the footer is wrong. */
export function footerOf(tail: Buffer): Footer | null {
  try {
    return decodeFooter(tail)
  } catch {
    return null
  }
}

/** The places among these bytes where something that looks like a footer ends. */
export function* footerEnds(bytes: Buffer): Generator<number> {
  for (let at = bytes.indexOf(MAGIC); at >= 0; at = bytes.indexOf(MAGIC, at + 1)) {
    yield at + FOOTER_SIZE
    yield at + FOOTER_SIZE + MEMBER_END_SIZE
  }
}

/** Whether a footer may be among these bytes. */
export function hasFooterMagic(bytes: Buffer): boolean {
  return bytes.includes(MAGIC)
}
