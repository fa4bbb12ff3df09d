/** A disk in memory whose calls take a while, in any order, as those of a real one: to drive guests' writes in tests. */

import { setTimeout as sleep } from 'node:timers/promises'
import { CLUSTER_SIZE } from '../../src/core/geometry.ts'
import type { Disk, WriteOptions, ZeroOptions } from '../../src/storage/disk.ts'
import type { DriveExtent } from '../../src/storage/drive.ts'

export class MemoryDisk implements Disk {
  readonly bytes: Buffer
  readonly readOnly = false
  /** How often each cluster was read by somebody who asked for exactly clusters, as backups do. */
  readonly reads: number[] = []
  /** Milliseconds that a call takes at most. */
  delay = 0
  /** Bytes whose reading fails. */
  broken: { from: number; to: number } | null = null
  flushes = 0
  readonly #random: () => number

  constructor(size: number, random: () => number = Math.random) {
    this.bytes = Buffer.alloc(size)
    this.#random = random
  }

  get size(): number {
    return this.bytes.length
  }

  async read(buffer: Uint8Array, offset: number): Promise<void> {
    await this.#pause()
    const to = offset + buffer.length
    if (this.broken !== null && offset < this.broken.to && to > this.broken.from) {
      throw Object.assign(new Error('the disk is broken'), { code: 'EIO' })
    }
    this.bytes.copy(buffer, 0, offset, to)
    await this.#pause()
  }

  /** A write happens in two halves, with time between them. */
  async write(buffers: readonly Uint8Array[], offset: number, _options?: WriteOptions): Promise<void> {
    const data = Buffer.concat(buffers)
    const half = data.length >> 1
    await this.#pause()
    data.copy(this.bytes, offset, 0, half)
    await this.#pause()
    data.copy(this.bytes, offset + half, half)
    await this.#pause()
  }

  async zero(offset: number, length: number, _options?: ZeroOptions): Promise<void> {
    await this.#pause()
    this.bytes.fill(0, offset, offset + length)
    await this.#pause()
  }

  async trim(offset: number, length: number): Promise<void> {
    await this.#pause()
    // What is read there afterwards is undefined: make sure that nobody relies on it.
    this.bytes.fill(0xdd, offset, offset + length)
  }

  async flush(): Promise<void> {
    this.flushes++
  }

  async *map(offset: number, length: number): AsyncGenerator<DriveExtent> {
    const end = offset + length
    for (let at = offset; at < end; ) {
      const to = Math.min(end, (Math.floor(at / CLUSTER_SIZE) + 1) * CLUSTER_SIZE)
      const zero = this.bytes.subarray(at, to).every((byte) => byte === 0)
      yield { offset: at, length: to - at, zero }
      at = to
    }
  }

  async close(): Promise<void> {}

  async #pause(): Promise<void> {
    if (this.delay > 0) await sleep(this.#random() * this.delay)
  }
}
