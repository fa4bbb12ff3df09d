/** The regions that are marked in the newest generation: in memory, and as far as they are durable. */

import { CLUSTER_SIZE } from '../../core/geometry.ts'
import { Regions } from './regions.ts'
import type { Generation, TrackFile } from './track-file.ts'
import { SECTOR_REGIONS } from './track-file.ts'

export class Marks {
  readonly generation: Generation
  readonly regions: Regions
  readonly #durable: Regions
  #dirty = new Set<number>()

  constructor(generation: Generation, size: number, region: number) {
    this.generation = generation
    this.regions = new Regions(size, region)
    this.#durable = new Regions(size, region)
  }

  /** Takes over what the file has. */
  async load(file: TrackFile): Promise<void> {
    await file.readBitmap(this.generation, this.regions)
    this.#durable.include(this.regions.bits)
  }

  /** Whether all of these clusters are in regions whose marks are durable. */
  areDurable(first: number, last: number): boolean {
    return this.#durable.hasClusters(first, last)
  }

  add(first: number, last: number): void {
    const each = this.regions.region / CLUSTER_SIZE
    const to = Math.floor(last / each)
    for (let index = Math.floor(first / each); index <= to; index++) {
      if (this.#durable.has(index)) continue
      this.regions.set(index)
      this.#dirty.add(Math.floor(index / SECTOR_REGIONS))
    }
  }

  /** Makes what is marked now durable. */
  async sync(file: TrackFile): Promise<void> {
    const sectors = this.#dirty
    if (sectors.size === 0) return
    this.#dirty = new Set()
    const bytes = SECTOR_REGIONS / 8
    const taken = [...sectors].map(
      (sector) => [sector * SECTOR_REGIONS, this.regions.bits.slice(sector * bytes, (sector + 1) * bytes)] as const,
    )
    await file.writeSectors(this.generation, this.regions, sectors)
    await file.sync()
    for (const [at, bits] of taken) this.#durable.include(bits, at)
  }
}
