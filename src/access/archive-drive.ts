/** Reads a drive of an archive, or of a chain of archives, in any order. Damage is an error only for the bytes that it touches. */

import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { CLUSTER_SIZE, clusterCount } from '../core/geometry.ts'
import { Chunk, type DriveInfo } from '../core/items.ts'
import { checkBounds, type DriveExtent } from '../storage/drive.ts'
import { type ImageReader, type Placed, zeroChunks } from './image-reader.ts'
import { type Layer, type LayeredRun, layeredRuns } from './layers.ts'
import type { View } from './piece-cache.ts'
import { ReadAhead } from './read-ahead.ts'
import { segmentsOf } from './segments.ts'

/** Bytes of the drive, which are zeroes if there is no view. The holder releases the view's lease. */
interface Part {
  length: number
  view: View | null
}

export class ArchiveDrive implements ImageReader {
  readonly size: number
  readonly info: DriveInfo
  /** The archives that have the drive, the newest first. */
  readonly layers: readonly Layer[]
  readonly #ahead: ReadAhead
  #closed = false

  constructor(info: DriveInfo, layers: readonly Layer[]) {
    this.info = info
    this.size = info.size
    this.layers = layers
    this.#ahead = new ReadAhead(info, layers)
  }

  /** Tells data from zeroes. Zeroes that are not certain, because their extent is damaged, are given as data. */
  async *map(offset: number, length: number): AsyncGenerator<DriveExtent> {
    this.#check(offset, length)
    let open = null as DriveExtent | null
    for (const run of this.#runs(offset, length)) {
      const zero = !run.stored && (await this.#isCertain(run))
      const [from, to] = this.#within(run, offset, length)
      if (open?.zero === zero) open.length += to - from
      else {
        if (open !== null) yield open
        open = { offset: from, length: to - from, zero }
      }
    }
    if (open !== null) yield open
  }

  async read(buffer: Uint8Array, offset: number): Promise<void> {
    this.#check(offset, buffer.byteLength)
    let filled = 0
    for await (const { length, view } of this.#each(offset, buffer.byteLength)) {
      if (view === null) buffer.fill(0, filled, filled + length)
      else {
        buffer.set(view.bytes, filled)
        view.lease.release()
      }
      filled += length
    }
  }

  /** Gives views of the cache: nothing is copied. */
  async *chunks(offset: number, length: number): AsyncGenerator<Chunk> {
    this.#check(offset, length)
    for await (const { length: bytes, view } of this.#each(offset, length)) {
      if (view === null) yield* zeroChunks(bytes)
      else yield new Chunk([view.bytes], [view.lease])
    }
  }

  *places(offset: number, length: number): Generator<Placed> {
    this.#check(offset, length)
    for (const run of this.#runs(offset, length)) {
      const [from, to] = this.#within(run, offset, length)
      const extent = run.extent < 0 ? -1 : run.layer.base + run.extent
      yield { offset: from, length: to - from, extent, stored: run.stored }
    }
  }

  /** Closes this drive. The archive stays open for the other drives. */
  async close(): Promise<void> {
    this.#closed = true
  }

  #check(offset: number, length: number): void {
    if (this.#closed) throw new VmapipeError('FAILED', 'the drive is closed', { drive: this.info.name })
    checkBounds(this.size, offset, length)
  }

  async *#each(offset: number, length: number): AsyncGenerator<Part> {
    for (const run of this.#runs(offset, length)) {
      const [from, to] = this.#within(run, offset, length)
      this.#ahead.see(from, to)
      try {
        if (run.extent < 0) throw new VmapipeError('INCOMPLETE', 'the archive was cut, and does not have this cluster')
        if (run.stored) yield* this.#stored(run, from, to)
        else {
          await run.layer.parts.headers.check(run.extent)
          yield { length: to - from, view: null }
        }
      } catch (error) {
        throw this.#explain(error, run, Math.floor(from / CLUSTER_SIZE))
      }
    }
  }

  async *#stored({ layer, extent }: LayeredRun, from: number, to: number): AsyncGenerator<Part> {
    const { headers, data } = layer.parts
    const header = await headers.get(extent)
    for (const { at, length } of segmentsOf(header.slots, layer.id, from, to)) {
      if (at < 0) yield { length, view: null }
      else
        for (let done = 0; done < length; ) {
          const view = await data.view(extent, header, at + done, length - done)
          done += view.bytes.length
          yield { length: view.bytes.length, view }
        }
    }
  }

  #runs(offset: number, length: number): Generator<LayeredRun> {
    const from = Math.floor(offset / CLUSTER_SIZE)
    return layeredRuns(this.layers, from, Math.min(clusterCount(offset + length), clusterCount(this.size)))
  }

  /** The bytes of a run that are in a range. */
  #within({ first, end }: LayeredRun, offset: number, length: number): [from: number, to: number] {
    return [Math.max(offset, first * CLUSTER_SIZE), Math.min(offset + length, end * CLUSTER_SIZE)]
  }

  async #isCertain({ layer, extent }: LayeredRun): Promise<boolean> {
    try {
      await layer.parts.headers.check(extent)
      return true
    } catch (error) {
      if (asVmapipeError(error).code === 'DAMAGED') return false
      throw error
    }
  }

  /** Adds the archive, the drive and the cluster to an error. One damage may fail several reads, and each must name its own cluster. */
  #explain(error: unknown, { layer }: LayeredRun, cluster: number): VmapipeError {
    const { code, message, where, hint, cause } = asVmapipeError(error)
    const file = layer.parts.place === null ? where.file : layer.parts.place
    const place = { cluster, ...where, ...(file !== undefined && { file }), drive: this.info.name }
    return new VmapipeError(code, message, { ...place, hint, cause: cause ?? error })
  }
}
