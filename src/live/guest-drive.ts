/**
 * A guest's drive: the disk below, and while a backup runs the copy of old data before every write to it. Reads never
 * wait. When there is no backup a write costs a comparison and an entry in a set.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { CLUSTER_SIZE } from '../core/geometry.ts'
import type { Disk, Done, WriteOptions, ZeroOptions } from '../storage/disk.ts'
import type { DriveExtent } from '../storage/drive.ts'
import type { DriveCopy } from './drive-copy.ts'
import { Gate } from './gate.ts'

/** Clusters of a long zero or trim that are copied at a time. */
const PIECE_CLUSTERS = 64

/** A write that was given to the disk and is not done. */
export interface Modification {
  first: number
  last: number
  gate: Gate
}

export class GuestDrive implements Disk {
  /** As far as the disk below can do it. */
  readonly prefetch?: Disk['prefetch']
  readonly #disk: Disk
  readonly #modifications = new Set<Modification>()
  #copy: DriveCopy | null = null
  #requests = 0

  constructor(disk: Disk) {
    this.#disk = disk
    this.prefetch = disk.prefetch?.bind(disk)
  }

  get size(): number {
    return this.#disk.size
  }

  get minBlock(): number | undefined {
    return this.#disk.minBlock
  }

  /** Reads and changes that the guest has asked for. */
  get requests(): number {
    return this.#requests
  }

  get readOnly(): boolean {
    return this.#disk.readOnly
  }

  /**
   * From the next request on, writes are preceded by copies. Those that the disk was given before belong to the point
   * in time, whole, though they may not be done yet: returned, so that nobody reads their clusters before.
   */
  intercept(copy: DriveCopy): Modification[] {
    this.#copy = copy
    return [...this.#modifications]
  }

  /** Writes go on as if nobody had ever been here. */
  release(): void {
    this.#copy = null
  }

  read(buffer: Uint8Array, offset: number): Done {
    this.#requests++
    return this.#disk.read(buffer, offset)
  }

  /** The same for the backup: no request of the guest. */
  readOld(buffer: Uint8Array, offset: number): Done {
    return this.#disk.read(buffer, offset)
  }

  /** Whether there is nothing but zeroes to be read. */
  oldIsHole(offset: number, length: number): boolean | Promise<boolean> {
    return this.#disk.isHole?.(offset, length) ?? this.#mapsHole(offset, length)
  }

  write(buffers: readonly Uint8Array[], offset: number, options?: WriteOptions): Done {
    let length = 0
    for (const { byteLength } of buffers) length += byteLength
    return this.#modify(offset, length, () => this.#disk.write(buffers, offset, options))
  }

  zero(offset: number, length: number, options?: ZeroOptions): Done {
    return this.#modify(offset, length, () => this.#disk.zero(offset, length, options))
  }

  trim(offset: number, length: number, options?: WriteOptions): Done {
    if (this.#copy === null) return this.#modify(offset, length, () => this.#disk.trim(offset, length, options))
    return this.#trimDuringBackup(offset, length, options)
  }

  flush(): Done {
    return this.#disk.flush()
  }

  map(offset: number, length: number): AsyncIterable<DriveExtent> {
    return this.#disk.map(offset, length)
  }

  survey(offset: number, length: number): AsyncIterable<DriveExtent> {
    return this.#disk.survey?.(offset, length) ?? this.#disk.map(offset, length)
  }

  close(): Promise<void> {
    return this.#disk.close()
  }

  async #mapsHole(offset: number, length: number): Promise<boolean> {
    for await (const { zero } of this.#disk.map(offset, length)) if (!zero) return false
    return true
  }

  #modify(offset: number, length: number, act: () => Done): Done {
    this.#requests++
    if (length === 0) return act()
    const first = Math.floor(offset / CLUSTER_SIZE)
    const last = Math.floor((offset + length - 1) / CLUSTER_SIZE)
    const copy = this.#copy
    if (copy === null || copy.has(first, last)) return this.#act(first, last, act)
    const goesOn = copy.waits()
    if (last - first >= PIECE_CLUSTERS || copy.secure(first, last) !== undefined)
      return this.#copyFirst(goesOn, first, last, act)
    // As most copies: nothing was awaited, and the copy for the next request is made while this one is carried out.
    goesOn()
    return this.#act(first, last, act)
  }

  async #copyFirst(goesOn: (() => void) | null, first: number, last: number, act: () => Done): Promise<void> {
    // Another backup may have begun when the one that was waited for has ended. Between the last look and the act
    // nothing is awaited: no point in time comes in between.
    while (this.#copy !== null && !this.#copy.has(first, last)) {
      const copy = this.#copy
      goesOn ??= copy.waits()
      for (let from = first; from <= last && this.#copy === copy; from += PIECE_CLUSTERS) {
        await copy.secure(from, Math.min(last, from + PIECE_CLUSTERS - 1))
      }
      goesOn()
      goesOn = null
    }
    goesOn?.()
    await this.#act(first, last, act)
  }

  /**
   * Nobody has to carry out a trim: one that would have to wait for long is carried out as far as what it throws away
   * could be copied in time, piece by piece.
   */
  async #trimDuringBackup(offset: number, length: number, options?: WriteOptions): Promise<void> {
    const copy = this.#copy
    const goesOn = copy?.waits()
    const enough = new AbortController()
    const timeout = sleep((copy?.maxStall ?? 0) / 4, false, { signal: enough.signal, ref: false }).catch(() => false)
    const inTime = async (first: number, last: number) =>
      copy === null || Promise.race([Promise.resolve(copy.secure(first, last)).then(() => true), timeout])
    try {
      await this.#trimPieces(offset, offset + length, inTime, options)
    } finally {
      enough.abort()
      goesOn?.()
    }
  }

  async #trimPieces(
    offset: number,
    end: number,
    inTime: (first: number, last: number) => Promise<boolean>,
    options?: WriteOptions,
  ): Promise<void> {
    for (let from = offset; from < end; ) {
      const cluster = Math.floor(from / CLUSTER_SIZE)
      const to = Math.min(end, (cluster + PIECE_CLUSTERS) * CLUSTER_SIZE)
      if (!(await inTime(cluster, Math.floor((to - 1) / CLUSTER_SIZE)))) return
      const start = from
      await this.#modify(start, to - start, () => this.#disk.trim(start, to - start, options))
      from = to
    }
  }

  #act(first: number, last: number, act: () => Done): Done {
    const done = act()
    if (done === undefined) return undefined
    const modification = { first, last, gate: new Gate() }
    this.#modifications.add(modification)
    const over = () => {
      this.#modifications.delete(modification)
      modification.gate.open()
    }
    return done.then(over, (error) => {
      over()
      throw error
    })
  }
}
