/**
 * Fills the images of a live restore from the archive: first what a guest has just read, with what is near it in the archive, then
 * the rest from the archive's front to its end. While a guest waits for the archive, the rest waits too.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { type DriveRange, inArchiveOrder } from '../../access/archive-order.ts'
import type { ImageReader } from '../../access/image-reader.ts'
import type { Budget } from '../../core/budget.ts'
import type { VmapipeError } from '../../core/errors.ts'
import { CLUSTER_SIZE } from '../../core/geometry.ts'
import type { OverlayDisk } from '../../storage/disks/overlay/overlay-disk.ts'
import type { Demand } from './demand.ts'
import { around, extentsOf, readFrom } from './source.ts'

/** Ranges that are filled at once. */
const WORKERS = 4
/** Bytes that are read at once. After a failure only a cluster, so that whatever is whole around it is restored. */
const PIECE = 1 << 20
/** Bytes of memory that the filler needs. */
export const FILL_BYTES = WORKERS * PIECE
/** Bytes, and milliseconds, after which what was filled is made durable: a killed restore continues from there. */
const SYNC_BYTES = 256 << 20
const SYNC_MS = 5000
/** The most ranges that are wanted first; more than these come in their order. */
const MAX_WANTED = 1024

export interface FillTarget {
  name: string
  overlay: OverlayDisk
  /** The drive in the archive. */
  source: ImageReader
}

/** Bytes that cannot be restored. */
export interface Missing {
  drive: string
  offset: number
  length: number
  error: VmapipeError
}

interface FillerOptions {
  /** At least FILL_BYTES. */
  memory: Budget
  demand: Demand
  signal: AbortSignal
  /** Bytes of data a second. */
  bwlimit?: number
}

export class Filler {
  readonly missing: Missing[] = []
  readonly #targets: readonly FillTarget[]
  readonly #options: FillerOptions
  readonly #wanted = new Map<string, DriveRange>()
  #piece = PIECE
  #due = 0
  #unsynced = 0
  #syncedAt = performance.now()

  constructor(targets: readonly FillTarget[], options: FillerOptions) {
    this.#targets = targets
    this.#options = options
  }

  /** A guest reads here: what is around it comes before all else. */
  want(drive: number, offset: number, length: number): void {
    const { source } = this.#targets[drive]
    for (const stretch of around(source, offset, length)) {
      if (this.#wanted.size >= MAX_WANTED) return
      this.#wanted.set(`${drive} ${stretch.offset}`, { drive, ...stretch })
    }
  }

  /** Resolves when everything that can be restored is in the images, or when aborted. Fails if an image cannot be written. */
  async run(): Promise<void> {
    const order = inArchiveOrder(this.#targets.map(({ source }) => source))
    await this.#pass(order, () => {})
    // A read that failed once may succeed now, and most of its data is whole.
    this.#piece = CLUSTER_SIZE
    await this.#pass(this.#leftOver(), (missing) => this.#note(missing))
  }

  async #pass(order: Iterator<DriveRange>, failed: (missing: Missing) => void): Promise<void> {
    const failures: unknown[] = []
    const work = async () => {
      try {
        for (let stretch = await this.#next(order); stretch; stretch = await this.#next(order)) {
          if (failures.length > 0) return
          await this.#fill(stretch, failed)
        }
      } catch (error) {
        failures.push(error)
      }
    }
    await Promise.all(Array.from({ length: WORKERS }, work))
    if (failures.length > 0 && !this.#options.signal.aborted) throw failures[0]
  }

  async #next(order: Iterator<DriveRange>): Promise<DriveRange | undefined> {
    const { demand, signal } = this.#options
    if (signal.aborted) return undefined
    let urgent = this.#takeWanted()
    if (urgent) return urgent
    await demand.quiet()
    urgent = this.#takeWanted()
    if (urgent || signal.aborted) return urgent
    const { done, value } = order.next()
    return done ? undefined : value
  }

  #takeWanted(): DriveRange | undefined {
    const [first] = this.#wanted
    if (first === undefined) return undefined
    this.#wanted.delete(first[0])
    return first[1]
  }

  async #fill({ drive, offset, length }: DriveRange, failed: (missing: Missing) => void): Promise<void> {
    const target = this.#targets[drive]
    for (const gap of target.overlay.parts(offset, length)) {
      if (gap.there) continue
      for await (const extent of extentsOf(target.source, gap.offset, gap.length)) {
        if (this.#options.signal.aborted) return
        if (!extent.zero) await this.#copy(target, extent.offset, extent.length, failed)
        else {
          await target.overlay.adopt(extent.offset, extent.length, null)
          await this.#account(0)
        }
      }
    }
  }

  async #copy(target: FillTarget, offset: number, length: number, failed: (missing: Missing) => void): Promise<void> {
    const { memory, signal } = this.#options
    const slab = await memory.take(PIECE)
    try {
      for (let done = 0; done < length && !signal.aborted; done += this.#piece) {
        const [at, bytes] = [offset + done, slab.buffer.subarray(0, Math.min(this.#piece, length - done))]
        const error = await readFrom(target.source, bytes, at)
        if (error !== null) {
          failed({ drive: target.name, offset: at, length: bytes.length, error })
          continue
        }
        await target.overlay.adopt(at, bytes.length, bytes)
        await this.#account(bytes.length)
      }
    } finally {
      slab.release()
    }
  }

  /** Keeps to the rate limit, and makes durable what was filled since the last time. */
  async #account(bytes: number): Promise<void> {
    const { bwlimit, signal } = this.#options
    this.#unsynced += bytes
    if (this.#unsynced >= SYNC_BYTES || performance.now() - this.#syncedAt > SYNC_MS) {
      this.#unsynced = 0
      this.#syncedAt = performance.now()
      for (const { overlay } of this.#targets) await overlay.flush()
    }
    if (bwlimit === undefined) return
    const now = performance.now()
    this.#due = Math.max(this.#due, now) + (bytes / bwlimit) * 1000
    if (this.#due > now) await sleep(this.#due - now, undefined, { signal }).catch(() => {})
  }

  *#leftOver(): Generator<DriveRange> {
    for (const [drive, { overlay }] of this.#targets.entries()) {
      if (overlay.isComplete) continue
      for (const { offset, length, there } of overlay.parts(0, overlay.size)) {
        if (!there) yield { drive, offset, length }
      }
    }
  }

  /** Neighbouring ranges that fail in the same way are reported as one. */
  #note(missing: Missing): void {
    const last = this.missing.at(-1)
    const joins = last?.drive === missing.drive && last.offset + last.length === missing.offset
    if (joins && last.error.code === missing.error.code) last.length += missing.length
    else this.missing.push(missing)
  }
}
