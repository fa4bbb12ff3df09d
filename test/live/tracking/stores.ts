/** A tracking file in memory: what was not synced is there or not after a power failure, sector by sector, as chance has it. */

import { setImmediate as turn } from 'node:timers/promises'
import type { TrackStore } from '../../../src/live/tracking/track-file.ts'

const SECTOR = 512

export class LossyStore implements TrackStore {
  bytes: Buffer = Buffer.alloc(0)
  #durable = new Map<number, Buffer>()
  #dirty = new Set<number>()
  readonly #below: (below: number) => number
  /** Fails every call with this error. */
  broken: Error | null = null
  /** Fails the next call with this error. */
  breaksOnce: Error | null = null
  /** No call ever returns. */
  hangs = false
  syncs = 0

  constructor(below: (below: number) => number = () => 0, content?: Buffer) {
    this.#below = below
    if (content !== undefined) {
      this.bytes = content
      for (let sector = 0; sector * SECTOR < content.length; sector++) this.#durable.set(sector, this.#sector(sector))
    }
  }

  async read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }> {
    await this.#turns(2)
    return { bytesRead: this.bytes.copy(buffer, offset, position, position + length) }
  }

  async write(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesWritten: number }> {
    await this.#turns(3)
    if (position + length > this.bytes.length)
      this.bytes = Buffer.concat([this.bytes, Buffer.alloc(position + length - this.bytes.length)])
    this.bytes.set(buffer.subarray(offset, offset + length), position)
    for (let sector = Math.floor(position / SECTOR); sector * SECTOR < position + length; sector++)
      this.#dirty.add(sector)
    return { bytesWritten: length }
  }

  async datasync(): Promise<void> {
    this.syncs++
    const kept = [...this.#dirty].map((sector) => [sector, this.#sector(sector)] as const)
    await this.#turns(5)
    for (const [sector, content] of kept) {
      this.#durable.set(sector, content)
      if (this.#sector(sector).equals(content)) this.#dirty.delete(sector)
    }
  }

  async close(): Promise<void> {}

  /** What a power failure leaves. */
  fail(): Buffer {
    const left = Buffer.alloc(this.bytes.length)
    for (let sector = 0; sector * SECTOR < left.length; sector++) {
      const isNew = this.#dirty.has(sector) && this.#below(2) === 0
      const content = isNew ? this.#sector(sector) : this.#durable.get(sector)
      content?.copy(left, sector * SECTOR)
    }
    return left
  }

  #sector(sector: number): Buffer {
    return Buffer.from(this.bytes.subarray(sector * SECTOR, (sector + 1) * SECTOR))
  }

  async #turns(most: number): Promise<void> {
    if (this.hangs) await new Promise(() => {})
    for (let turns = this.#below(most); turns > 0; turns--) await turn()
    const error = this.breaksOnce ?? this.broken
    this.breaksOnce = null
    if (error !== null) throw error
  }
}
