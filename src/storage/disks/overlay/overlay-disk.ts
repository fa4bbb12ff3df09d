/**
 * A disk over a drive that is only read: blocks that were written are in a file of our own, all others are the drive's.
 * Which ones the file has is in a map that is durable when a flush has ended: first the blocks, then the map, so that
 * the map never tells of a block that a power failure took. Nothing is ever taken out of the map. Where nothing but this
 * process is killed no write is lost that was done (see recent-map.ts): a guest may well go on.
 *
 * A block that is not there yet is written by one at a time, whole: a guest's write to a part of it comes after the rest
 * of it (`adopt`). So a guest's write is never overwritten by what was there before.
 */

import { VmapipeError } from '../../../core/errors.ts'
import type { Disk, Done, WriteOptions, ZeroOptions } from '../../disk.ts'
import { checkBounds, type DriveExtent, type DriveReader } from '../../drive.ts'
import { FlushGate } from '../flush-gate.ts'
import { Claims } from './claims.ts'
import { BLOCK } from './map-file.ts'
import { MapFull, type OverlayMap, type Stretch } from './overlay-map.ts'

/** The file that has the blocks, and the map of them. */
export interface OverlayFiles {
  blocks: Disk
  map: OverlayMap
}

export class OverlayDisk implements Disk {
  readonly readOnly = false
  readonly #base: DriveReader
  readonly #blocks: Disk
  readonly #map: OverlayMap
  readonly #claims = new Claims()
  readonly #gate: FlushGate
  #closed: Promise<void> | null = null

  /** All of them are the overlay's from now on. */
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

  /** Nothing is left for which the drive below is needed. */
  get isComplete(): boolean {
    return this.#map.blocks.isComplete
  }

  /** Bytes that the overlay has. */
  get held(): number {
    return Math.min(this.size, this.#map.blocks.count * BLOCK)
  }

  read(buffer: Uint8Array, offset: number): Done {
    const length = buffer.byteLength
    this.#check(offset, length)
    const [first, ...rest] = this.stretches(offset, length)
    if (first === undefined) return undefined
    if (rest.length === 0) return this.#readStretch(buffer, first)
    const parts = [first, ...rest].map(async (stretch) => {
      const from = stretch.offset - offset
      await this.#readStretch(buffer.subarray(from, from + stretch.length), stretch)
    })
    return Promise.all(parts).then(() => {})
  }

  write(buffers: readonly Uint8Array[], offset: number, { fua = false }: WriteOptions = {}): Done {
    let length = 0
    for (const { byteLength } of buffers) length += byteLength
    return this.#change(offset, length, fua, (durably) => this.#blocks.write(buffers, offset, { fua: durably }))
  }

  zero(offset: number, length: number, { fua = false, noHole, fast }: ZeroOptions = {}): Done {
    if (fast && !this.#isWhole(offset, length)) {
      throw Object.assign(new Error('a part of a block would have to be read'), { code: 'ENOTSUP' })
    }
    return this.#change(offset, length, fua, (durably) =>
      this.#blocks.zero(offset, length, { fua: durably, noHole, fast }),
    )
  }

  /** Of whole blocks: these need no place any more, in the overlay or below. */
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
    for (const stretch of this.stretches(offset, length)) {
      yield* (stretch.there ? this.#blocks : this.#base).map(stretch.offset, stretch.length)
    }
  }

  /** Which parts of the range the overlay has. */
  stretches(offset: number, length: number): Generator<Stretch> {
    return this.#map.stretches(offset, length)
  }

  /**
   * Puts what the drive below has from `offset` on, whole blocks, into the overlay, where it is not there yet. Null for
   * `bytes`: these are zeroes.
   */
  async adopt(offset: number, length: number, bytes: Uint8Array | null): Promise<void> {
    this.#check(offset, length)
    if (!this.#isWhole(offset, length))
      throw new VmapipeError('STAGE', 'a part of a block was to be adopted', { offset })
    const release = await this.#claims.take(Math.floor(offset / BLOCK), Math.ceil((offset + length) / BLOCK))
    try {
      for (const { offset: from, length: count, there } of this.stretches(offset, length)) {
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

  /** The map's files are not needed any more: the overlay is complete, and it has been flushed since. */
  detachMap(): Promise<void> {
    return this.#map.close()
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    await this.#claims.idle()
    await this.#blocks.close()
    await this.#map.close()
    await this.#base.close()
  }

  #readStretch(buffer: Uint8Array, { offset, there }: Stretch): Done {
    return (there ? this.#blocks : this.#base).read(buffer, offset)
  }

  /** Does what changes the whole range; `act` is told whether it has to be durable by itself. */
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
    const release = await this.#claims.take(from, to)
    try {
      await act(false)
      this.#map.blocks.add(from, to)
      await this.#map.record()
    } finally {
      release()
    }
    if (fua) await this.flush()
  }

  /** The block is there, as it is below unless somebody wrote to it. */
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
