/** An overlay whose host loses its power: what was not made durable is there or not, block by block, as chance has it. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { WriteOptions } from '../../../../src/storage/disk.ts'
import { BlockMap } from '../../../../src/storage/disks/overlay/block-map.ts'
import { type EncodedPages, MapFile } from '../../../../src/storage/disks/overlay/map-file.ts'
import { OverlayDisk } from '../../../../src/storage/disks/overlay/overlay-disk.ts'
import { OverlayMap } from '../../../../src/storage/disks/overlay/overlay-map.ts'
import type { DriveReader } from '../../../../src/storage/drive.ts'
import { MemoryDisk } from '../../../support/memory-disk.ts'
import { seed, seeded } from '../../../support/random.ts'

const BLOCK = 4096
const SECTOR = 512
const BLOCKS = 128
const SIZE = BLOCKS * BLOCK
const BASE = 200

type Random = (below: number) => number

/** Keeps what was flushed, as it was when the flush began. */
class LossyDisk extends MemoryDisk {
  readonly durable: Buffer
  #flushing = Buffer.alloc(SIZE)
  #dirty = new Set<number>()
  readonly #below: Random

  constructor(content: Buffer, below: Random) {
    super(content.length)
    this.#below = below
    content.copy(this.bytes)
    this.durable = Buffer.from(content)
  }

  override async write(
    buffers: readonly Uint8Array[],
    offset: number,
    { fua = false }: WriteOptions = {},
  ): Promise<void> {
    await this.#modify(offset, Buffer.concat(buffers), fua)
  }

  override async zero(offset: number, length: number, { fua = false }: WriteOptions = {}): Promise<void> {
    await this.#modify(offset, Buffer.alloc(length), fua)
  }

  override async flush(): Promise<void> {
    const [before, dirty] = [Buffer.from(this.bytes), this.#dirty]
    this.#flushing = before
    this.#dirty = new Set()
    for (let turns = this.#below(6); turns > 0; turns--) await turn()
    for (const block of dirty) before.copy(this.durable, block * BLOCK, block * BLOCK, (block + 1) * BLOCK)
  }

  /** What the power failure leaves. A block that changed since the last flush is old or new. */
  fail(): Buffer {
    for (let block = 0; block < BLOCKS; block++) {
      if (this.#below(2) === 0) this.bytes.copy(this.durable, block * BLOCK, block * BLOCK, (block + 1) * BLOCK)
    }
    return this.durable
  }

  async #modify(offset: number, data: Buffer, durably: boolean): Promise<void> {
    for (let turns = this.#below(3); turns > 0; turns--) await turn()
    data.copy(this.bytes, offset)
    // What is durable by itself no flush takes back that was under way.
    if (durably) for (const kept of [this.durable, this.#flushing]) data.copy(kept, offset)
    const last = Math.floor((offset + data.length - 1) / BLOCK)
    for (let block = Math.floor(offset / BLOCK); block <= last; block++) this.#dirty.add(block)
  }
}

/** The map's file: of a write under way any sector may be there. */
class LossyMap {
  readonly sectors = new Map<number, Buffer>()
  #underWay: [number, Buffer][] = []
  readonly #below: Random

  constructor(below: Random) {
    this.#below = below
  }

  encode = MapFile.prototype.encode

  async write(pages: EncodedPages): Promise<void> {
    this.#underWay = pages.flatMap(({ offset, sectors }) =>
      sectors.map((sector, index): [number, Buffer] => [offset + index * SECTOR, sector]),
    )
    for (let turns = this.#below(3); turns > 0; turns--) await turn()
  }

  async sync(): Promise<void> {
    for (let turns = this.#below(4); turns > 0; turns--) await turn()
    for (const [offset, sector] of this.#underWay.splice(0)) this.sectors.set(offset, sector)
  }

  async close(): Promise<void> {}

  fail(): BlockMap {
    for (const [offset, sector] of this.#underWay) if (this.#below(2) === 0) this.sectors.set(offset, sector)
    const map = new BlockMap(BLOCKS)
    for (const [offset, sector] of this.sectors) map.load(offset / SECTOR - 1, sector.subarray(4))
    return map
  }
}

function overlay(blocks: LossyDisk, map: BlockMap, lossy: LossyMap): OverlayDisk {
  const base = {
    size: SIZE,
    read: async (buffer: Uint8Array) => void buffer.fill(BASE),
    close: async () => {},
  } as unknown as DriveReader
  const recent = { has: () => true, record: async () => {}, close: async () => {} }
  return new OverlayDisk(base, {
    blocks,
    map: new OverlayMap({ blocks: map, changed: map.track(), file: lossy, recent }),
  })
}

/** What a sector of 512 bytes may hold after a power failure: the last value that is durable, or any that came later. */
class Sector {
  readonly #values: number[]
  /** How many were written before the first of them. */
  #dropped = 0
  #written = 0

  constructor(value = BASE) {
    this.#values = [value]
  }

  get allowed(): number[] {
    return [...this.#values]
  }

  /** The number of the last write that was done. */
  get written(): number {
    return this.#written
  }

  begin(value: number): void {
    this.#values.push(value)
  }

  /** The write that was begun last is done. */
  end(): void {
    this.#written = this.#dropped + this.#values.length - 1
  }

  /** This write, and so those before it, are durable. */
  keep(write: number): void {
    this.#values.splice(0, write - this.#dropped)
    this.#dropped = Math.max(this.#dropped, write)
  }
}

/** Writes to a part of the sectors, and flushes all, until it is told to stop. */
async function work(
  disk: OverlayDisk,
  sectors: Sector[],
  [from, to]: [number, number],
  below: Random,
  stopped: () => boolean,
) {
  for (let value = 1; !stopped(); value = (value % 199) + 1) {
    const count = [1, 3, 8, 8, 16, 40][below(6)]
    const first = count >= 8 ? from + 8 * below((to - from - count) / 8) : from + below(to - from - count)
    const written = below(5) === 0 ? 0 : value
    const range = sectors.slice(first, first + count)
    for (const sector of range) sector.begin(written)
    const fua = below(8) === 0
    if (written === 0) await disk.zero(first * SECTOR, count * SECTOR, { fua })
    else await disk.write([Buffer.alloc(count * SECTOR, written)], first * SECTOR, { fua })
    for (const sector of range) {
      sector.end()
      if (fua) sector.keep(sector.written)
    }
    if (below(6) > 0) continue
    const before = sectors.map((sector) => sector.written)
    await disk.flush()
    for (const [index, sector] of sectors.entries()) sector.keep(before[index])
  }
}

test('no power failure takes what was flushed, or brings what nobody wrote', { timeout: 120_000 }, async (t) => {
  t.diagnostic(`seed ${seed}`)
  const random = seeded(seed)
  const below: Random = (n) => Math.floor(random() * n)
  let content: Buffer = Buffer.alloc(SIZE, 0xee)
  let map = new BlockMap(BLOCKS)
  const count = SIZE / SECTOR
  let sectors = Array.from({ length: count }, () => new Sector())
  let held = Buffer.alloc(SIZE, BASE)
  for (let round = 0; round < 30; round++) {
    const lossy = new LossyMap(below)
    const bits = map.bits(0)
    if (bits) lossy.sectors.set(SECTOR, Buffer.concat([Buffer.alloc(4), bits]))
    const blocks = new LossyDisk(content, below)
    const disk = overlay(blocks, map, lossy)
    sectors = sectors.map((_, index) => new Sector(held[index * SECTOR]))
    let stop = false
    const parts = [0, 1, 2, 3].map((part): [number, number] => [(part * count) / 4, ((part + 1) * count) / 4])
    const workers = parts.map((part) => work(disk, sectors, part, below, () => stop))
    for (let turns = below(400); turns > 0; turns--) await turn()
    // All at one instant: what the disks hold, and what may be there.
    content = Buffer.from(blocks.fail())
    map = lossy.fail()
    const allowed = sectors.map((sector) => sector.allowed)
    stop = true
    await Promise.all(workers)
    held = Buffer.alloc(SIZE)
    await overlay(new LossyDisk(content, below), map, new LossyMap(below)).read(held, 0)
    for (const [index, values] of allowed.entries()) {
      const value = held[index * SECTOR]
      assert.ok(held.subarray(index * SECTOR, (index + 1) * SECTOR).equals(Buffer.alloc(SECTOR, value)))
      assert.ok(values.includes(value), `round ${round}, sector ${index}: ${value} is none of ${values}`)
    }
  }
})
