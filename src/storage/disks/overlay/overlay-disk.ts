/**
 * A disk over a drive that is only read. Blocks that were written are in a file of our own, all others are those of the drive.
 * A map tells which blocks the file has. A flush makes first the blocks durable, then the map, so that the map never tells of a
 * block that a power failure took. Nothing is ever taken out of the map. If only this process is killed, no write that was
 * acknowledged is lost (recent-map.ts), so the guest can continue.
 *
 * A block that the file does not have yet is written whole, and by one at a time. If a guest writes to a part of it, the rest
 * comes first (`adopt`). So old data never overwrites a guest's write.
 */

import { VmapipeError } from '../../../core/errors.ts'
import { totalLength } from '../../../core/items.ts'
import { RangeLock } from '../../../core/range-lock.ts'
import type { Disk, Done, WriteOptions, ZeroOptions } from '../../disk.ts'
import { checkBounds, type DriveExtent, type DriveReader } from '../../drive.ts'
import { FlushGate } from '../flush-gate.ts'
import { BLOCK } from './map-file.ts'
import { MapFull, type OverlayMap, type OverlayPart } from './overlay-map.ts'

/** The file of the blocks, and the map that tells which it has. */
export interface OverlayFiles {
  blocks: Disk
  map: OverlayMap
}

export class OverlayDisk implements Disk {
  readonly readOnly = false
  readonly #base: DriveReader
  readonly #blocks: Disk
  readonly #map: OverlayMap
  /** Blocks that are written for the first time, each by one at a time. */
  readonly #lock = new RangeLock()
  readonly #gate: FlushGate
  #closed: Promise<void> | null = null

  /** The overlay closes them when it is closed. */
  constructor(base: DriveReader, { blocks, map }: OverlayFiles) {
    this.#base = base
    this.#blocks = blocks
    this.#map = map
    this.#gate = new FlushGate(
      () => map.sync(() => blocks.flush()),
      (error) => error instanceof MapFull,
    )
  }

  get size(): number {
    return this.#base.size
  }

  /** The overlay has all blocks: the drive below is not needed any more. */
  get isComplete(): boolean {
    return this.#map.blocks.isComplete
  }

  /** The bytes that the overlay has. */
  get held(): number {
    return Math.min(this.size, this.#map.blocks.count * BLOCK)
  }

  read(buffer: Uint8Array, offset: number): Done {
    const length = buffer.byteLength
    this.#check(offset, length)
    const [first, ...rest] = this.parts(offset, length)
    if (first === undefined) return undefined
    if (rest.length === 0) return this.#readPart(buffer, first)
    const parts = [first, ...rest].map(async (part) => {
      const from = part.offset - offset
      await this.#readPart(buffer.subarray(from, from + part.length), part)
    })
    return Promise.all(parts).then(() => {})
  }

  write(buffers: readonly Uint8Array[], offset: number, { fua = false }: WriteOptions = {}): Done {
    return this.#change(offset, totalLength(buffers), fua, (durably) =>
      this.#blocks.write(buffers, offset, { fua: durably }),
    )
  }

  zero(offset: number, length: number, { fua = false, noHole, fast }: ZeroOptions = {}): Done {
    if (fast && !this.#isWhole(offset, length)) {
      throw Object.assign(new Error('a part of a block would have to be read'), { code: 'ENOTSUP' })
    }
    return this.#change(offset, length, fua, (durably) =>
      this.#blocks.zero(offset, length, { fua: durably, noHole, fast }),
    )
  }

  /** Trims whole blocks only. The overlay has them from then on, without space. */
  trim(offset: number, length: number, { fua = false }: WriteOptions = {}): Done {
    this.#check(offset, length)
    const end = offset + length
    const from = Math.ceil(offset / BLOCK) * BLOCK
    const to = end === this.size ? end : Math.floor(end / BLOCK) * BLOCK
    if (from >= to) return fua ? this.flush() : undefined
    return this.#change(from, to - from, fua, (durably) => this.#blocks.trim(from, to - from, { fua: durably }))
  }

  flush(): Done {
    return this.#gate.flush()
  }

  async *map(offset: number, length: number): AsyncGenerator<DriveExtent> {
    this.#check(offset, length)
    for (const part of this.parts(offset, length)) {
      yield* (part.there ? this.#blocks : this.#base).map(part.offset, part.length)
    }
  }

  /** The range in parts that the overlay has, or does not have. */
  parts(offset: number, length: number): Generator<OverlayPart> {
    return this.#map.parts(offset, length)
  }

  /**
   * Puts whole blocks of the drive below into the overlay, except those that it has already. `bytes`: what the drive below has
   * there, or null for zeroes.
   */
  async adopt(offset: number, length: number, bytes: Uint8Array | null): Promise<void> {
    this.#check(offset, length)
    if (!this.#isWhole(offset, length))
      throw new VmapipeError('STAGE', 'a part of a block was to be adopted', { offset })
    const release = await this.#lock.enter(Math.floor(offset / BLOCK), Math.ceil((offset + length) / BLOCK), true)
    try {
      for (const { offset: from, length: count, there } of this.parts(offset, length)) {
        if (there) continue
        if (bytes === null) await this.#blocks.zero(from, count)
        else await this.#blocks.write([bytes.subarray(from - offset, from - offset + count)], from)
        this.#map.blocks.add(Math.floor(from / BLOCK), Math.ceil((from + count) / BLOCK))
      }
      await this.#map.record()
    } finally {
      release()
    }
  }

  /** Closes the map's files. To be called when the overlay is complete and has been flushed since. */
  detachMap(): Promise<void> {
    return this.#map.close()
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    await this.#lock.idle()
    await this.#blocks.close()
    await this.#map.close()
    await this.#base.close()
  }

  #readPart(buffer: Uint8Array, { offset, there }: OverlayPart): Done {
    return (there ? this.#blocks : this.#base).read(buffer, offset)
  }

  /** Changes the whole range by `act`, which is told whether it has to make the change durable. */
  #change(offset: number, length: number, fua: boolean, act: (durably: boolean) => Done): Done {
    this.#check(offset, length)
    const from = Math.floor(offset / BLOCK)
    const to = Math.ceil((offset + length) / BLOCK)
    if (length === 0) return fua ? this.flush() : undefined
    if (!this.#map.blocks.hasAll(from, to)) return this.#changeNew(offset, length, fua, act)
    if (this.#map.isDurable(from, to)) return act(fua)
    if (!fua && this.#map.isRecorded(from, to)) return act(false)
    return this.#actThenKeep(act, fua)
  }

  async #changeNew(offset: number, length: number, fua: boolean, act: (durably: boolean) => Done): Promise<void> {
    const end = offset + length
    const from = Math.floor(offset / BLOCK)
    const to = Math.ceil(end / BLOCK)
    if (offset % BLOCK !== 0) await this.#secure(from)
    if (end % BLOCK !== 0 && end !== this.size) await this.#secure(to - 1)
    const release = await this.#lock.enter(from, to, true)
    try {
      await act(false)
      this.#map.blocks.add(from, to)
      await this.#map.record()
    } finally {
      release()
    }
    if (fua) await this.flush()
  }

  /** Makes sure that the overlay has the block: with the content below, unless it was written to. */
  async #secure(block: number): Promise<void> {
    if (this.#map.blocks.has(block)) return
    const offset = block * BLOCK
    const bytes = Buffer.allocUnsafe(Math.min(BLOCK, this.size - offset))
    await this.#base.read(bytes, offset)
    await this.adopt(offset, bytes.length, bytes)
  }

  #check(offset: number, length: number): void {
    if (this.#closed) throw new VmapipeError('FAILED', 'the disk is closed')
    checkBounds(this.size, offset, length)
  }

  #isWhole(offset: number, length: number): boolean {
    const end = offset + length
    return offset % BLOCK === 0 && (end % BLOCK === 0 || end === this.size)
  }

  async #actThenKeep(act: (durably: boolean) => Done, fua: boolean): Promise<void> {
    await act(false)
    await (fua ? this.flush() : this.#map.record())
  }
}
