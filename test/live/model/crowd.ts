/**
 * Many writers of the same sectors at once. What a sector holds then is one of the writes that may have come last: one that
 * had begun, and after whose end no other one both began and ended.
 */

import assert from 'node:assert/strict'
import type { NbdClient } from '../../../src/protocol/nbd/client.ts'

const SECTOR = 512

interface Write {
  tag: number
  begun: number
  ended: number
}

export class Crowd {
  readonly #clients: readonly NbdClient[]
  readonly #random: () => number
  readonly #sectors: Write[][]
  /** Counts events: what comes first has the smaller number. */
  #clock = 0
  #tags = 0
  requests = 0

  /** The drive of these clients reads as zeroes; its size in sectors is `sectors`. */
  constructor(clients: readonly NbdClient[], sectors: number, random: () => number) {
    this.#clients = clients
    this.#random = random
    this.#sectors = Array.from({ length: sectors }, () => [{ tag: 0, begun: -1, ended: -1 }])
  }

  get now(): number {
    return this.#clock++
  }

  async step(): Promise<void> {
    const { length } = this.#sectors
    const first = Math.floor(this.#random() * length)
    const count = Math.min(length - first, Math.ceil(300 ** this.#random()))
    const client = this.#clients[Math.floor(this.#random() * this.#clients.length)]
    const tag = this.#random() < 0.2 ? 0 : ++this.#tags
    const write = { tag, begun: this.now, ended: Number.POSITIVE_INFINITY }
    for (const sector of this.#sectors.slice(first, first + count)) sector.push(write)
    if (tag === 0) await client.writeZeroes(first * SECTOR, count * SECTOR)
    else await client.write([Buffer.alloc(count * SECTOR, tagged(tag))], first * SECTOR)
    write.ended = this.now
    this.requests++
  }

  /** The image is of an instant between `from` and `to`. */
  checkInstant(image: Buffer, from: number, to: number): void {
    for (const [index, writes] of this.#sectors.entries()) {
      const sector = image.subarray(index * SECTOR, (index + 1) * SECTOR)
      const tag = sector.readUInt32LE(0)
      assert.ok(sector.equals(Buffer.alloc(SECTOR, tagged(tag))), `sector ${index} is a mixture`)
      const mayBeLast = (write: Write) =>
        write.begun < to && !writes.some(({ begun, ended }) => begun > write.ended && ended < from)
      const isRight = writes.some((write) => write.tag === tag && mayBeLast(write))
      assert.ok(isRight, `sector ${index} holds write ${tag}, which is not of the instant`)
      this.#forget(index, from)
    }
  }

  /** What was overwritten before `time` cannot be seen any more. */
  #forget(index: number, time: number): void {
    const writes = this.#sectors[index]
    const newest = Math.max(...writes.filter(({ ended }) => ended < time).map(({ begun }) => begun))
    this.#sectors[index] = writes.filter(({ ended }) => ended >= newest)
  }
}

function tagged(tag: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(tag)
  return bytes
}
