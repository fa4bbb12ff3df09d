/** Which frames a compressed archive has (README.md beside this file): the map, and the footer that leads to it. */

import { crc32 } from 'node:zlib'
import { VmapipeError } from '../../core/errors.ts'
import { VarintWriter } from '../varint.ts'
import {
  type Container,
  enclose,
  FOOTER_SIZE,
  footerIn,
  heldBytes,
  MEMBER_END_SIZE,
  startsContainer,
  TAIL_SIZE,
} from './container.ts'

export type { Container } from './container.ts'
export { TAIL_SIZE } from './container.ts'

const MAGIC = Buffer.from('VMAPFMAP', 'latin1')
const VERSION = 1

export interface Footer {
  container: Container
  mapChecksum: number
  /** Of the map alone. */
  mapBytes: number
  /** Of all frames: what holds the map begins there. */
  frameBytes: number
  /** Of what holds the map. */
  heldBytes: number
  /** CRC-32 of everything before what holds the footer. */
  checksum: number
  /** Bytes of what holds the footer. */
  length: number
}

export interface Frame {
  bytes: number
  contentBytes: number
}

/** The entries of a map, in pieces: one that grew in one piece would be copied over and over, and is large. */
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
    if (this.#last.bytes.length < PIECE) return
    this.#full.push(Buffer.from(this.#last.bytes))
    this.#length += this.#last.bytes.length
    this.#last.clear()
  }

  /** The whole map, in pieces. */
  finish(): Buffer[] {
    const count = new VarintWriter()
    count.add(this.count)
    return [count.bytes, ...this.#full, this.#last.bytes]
  }
}

const PIECE = 1 << 20

/** Makes the map while frames are written. */
export class FrameMapWriter {
  readonly #container: Container
  readonly #entries = new FrameMapEntries()
  #bytes = 0
  #checksum = 0

  constructor(container: Container) {
    this.#container = container
  }

  /** The next frame, of these bytes one behind the other. */
  add(buffers: readonly Uint8Array[], contentBytes: number): void {
    const bytes = this.#digest(buffers)
    this.#bytes += bytes
    this.#entries.add(bytes, contentBytes)
  }

  /** What the archive ends with. */
  finish(): Buffer[] {
    const map = Buffer.concat(this.#entries.finish())
    const held = enclose(map, this.#container)
    this.#digest(held)
    const footer = Buffer.alloc(FOOTER_SIZE)
    MAGIC.copy(footer)
    footer.writeUInt32LE(VERSION, 8)
    footer.writeUInt32LE(crc32(map), 12)
    footer.writeBigUInt64LE(BigInt(map.length), 16)
    footer.writeBigUInt64LE(BigInt(this.#bytes), 24)
    footer.writeUInt32LE(this.#checksum, 32)
    footer.writeUInt32LE(crc32(footer.subarray(0, 36)), 36)
    return [...held, ...enclose(footer, this.#container)]
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
 * The footer in the last TAIL_SIZE bytes of an archive (fewer where it is shorter); null where there is none, or one of a
 * version that is not known. Throws DAMAGED where there is one that is not right.
 */
export function decodeFooter(tail: Buffer): Footer | null {
  const found = footerIn(tail, MAGIC)
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
    heldBytes: heldBytes(mapBytes, container),
    checksum: footer.readUInt32LE(32),
    length,
  }
}

/** Whether these bytes are the beginning of a map or a footer, or of what is left of it. */
export function startsEnding(start: Buffer): boolean {
  return startsContainer(start) || hasFooterMagic(start.subarray(0, TAIL_SIZE))
}

/** The same; null for one that is not right, too. */
export function footerOf(tail: Buffer): Footer | null {
  try {
    return decodeFooter(tail)
  } catch {
    return null
  }
}

/** Where among these bytes what looks like a footer ends. */
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
