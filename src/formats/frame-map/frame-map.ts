/** Which frames a compressed archive has (README.md beside this file): the map, and the footer that leads to it. */

import { crc32 } from 'node:zlib'
import { VmapipeError } from '../../core/errors.ts'
import { VarintReader, VarintWriter } from '../varint.ts'
import { type Container, enclose, FOOTER_SIZE, footerIn, heldBytes, open } from './container.ts'

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

/** Makes the map while frames are written. */
export class FrameMapWriter {
  readonly #container: Container
  readonly #entries = new VarintWriter()
  #frames = 0
  #bytes = 0
  #checksum = 0

  constructor(container: Container) {
    this.#container = container
  }

  /** The next frame, of these bytes one behind the other. */
  add(buffers: readonly Uint8Array[], contentBytes: number): void {
    const bytes = this.#digest(buffers)
    this.#bytes += bytes
    this.#frames++
    this.#entries.add(bytes, contentBytes)
  }

  /** What the archive ends with. */
  finish(): Buffer[] {
    const count = new VarintWriter()
    count.add(this.#frames)
    const map = Buffer.concat([count.bytes, this.#entries.bytes])
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

/** The frames, out of the `heldBytes` bytes at `frameBytes`. Throws DAMAGED where they are not what the footer says. */
export function decodeFrameMap(held: Buffer, { container, mapChecksum, mapBytes, frameBytes }: Footer): Frame[] {
  const map = open(held, mapBytes, container)
  if (map === null || crc32(map) !== mapChecksum) throw damaged('is damaged', frameBytes)
  const reader = new VarintReader(map)
  const count = reader.next()
  if (count > map.length) throw damaged(`claims ${count} frames`, frameBytes)
  const frames: Frame[] = []
  let total = 0
  for (let index = 0; index < count; index++) {
    const frame = { bytes: reader.next(), contentBytes: reader.next() }
    total += frame.bytes
    frames.push(frame)
  }
  if (!reader.isAtEnd || total !== frameBytes) throw damaged('does not add up', frameBytes)
  return frames
}

function damaged(what: string, offset: number): VmapipeError {
  return new VmapipeError('DAMAGED', `the map of the archive's frames ${what}`, { offset })
}
