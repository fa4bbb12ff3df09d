/**
 * A tracked drive whose host loses its power or whose service is killed, again and again: whatever differs from an archive is among
 * what has changed since that archive, or it is said that nothing is known.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { CLUSTER_SIZE } from '../../../src/core/geometry.ts'
import { GuestDrive } from '../../../src/live/guest-drive.ts'
import { TrackFile } from '../../../src/live/tracking/track-file.ts'
import { opened } from '../../../src/live/tracking/tracking.ts'
import type { Disk } from '../../../src/storage/disk.ts'
import { seed, seeded } from '../../support/random.ts'
import { LossyStore } from './stores.ts'

const REGION = 1 << 20
const REGIONS = 48
const SIZE = REGIONS * REGION - 4096

type Random = (below: number) => number

/** A disk that has one number in each region. What was not flushed is there or not after a power failure. */
class NumberDisk {
  readonly size = SIZE
  readonly readOnly = false
  numbers: number[]
  durable: number[]
  readonly #below: Random

  constructor(numbers: readonly number[], below: Random) {
    this.numbers = [...numbers]
    this.durable = [...numbers]
    this.#below = below
  }

  async write([buffer]: readonly Uint8Array[], offset: number): Promise<void> {
    for (let turns = this.#below(3); turns > 0; turns--) await turn()
    this.numbers[Math.floor(offset / REGION)] = Buffer.from(buffer).readUInt32BE(0)
    for (let turns = this.#below(3); turns > 0; turns--) await turn()
  }

  async flush(): Promise<void> {
    const before = [...this.numbers]
    for (let turns = this.#below(6); turns > 0; turns--) await turn()
    this.durable = before
  }

  async close(): Promise<void> {}

  fail(): number[] {
    return this.numbers.map((number, region) => (this.#below(2) === 0 ? number : this.durable[region]))
  }
}

/** What an archive has: what was there at the point in time, and what writes that were under way then have written. */
interface Archive {
  uuid: string
  numbers: number[]
}

test(`after a power failure or a kill nothing that changed is missed (seed ${seed})`, {
  timeout: 60_000,
}, async (t) => {
  const random = seeded(seed)
  const below: Random = (n) => Math.floor(random() * n)
  let numbers: number[] = Array(REGIONS).fill(0)
  let file: Buffer = Buffer.alloc(0)
  /** Some are written again and again. */
  const region = () => below(below(6) === 0 ? REGIONS : 8)
  let value = 0
  let uuids = 0
  let archives: Archive[] = []
  const figures = { known: 0, unknown: 0, small: 0 }

  for (let round = 0; round < 60; round++) {
    const store = new LossyStore(below, file)
    const disk = new NumberDisk(numbers, below)
    const tracker = await opened(new TrackFile(store), {
      name: 'a',
      disk: { size: SIZE },
      soleWriter: true,
    })
    const drive = new GuestDrive(disk as unknown as Disk, tracker)
    let over = false
    t.after(() => {
      over = true
    })
    const writing = async () => {
      while (!over) {
        const data = Buffer.alloc(4096)
        data.writeUInt32BE(++value)
        await drive.write([data], region() * REGION)
        if (below(10) === 0) await drive.flush()
        await turn()
      }
    }
    const writers = [writing(), writing(), writing()]
    const backups = below(4)
    for (let count = 0; count < backups; count++) await backUp()
    for (let turns = below(40); turns > 0; turns--) await turn()
    const isPower = below(2) === 0
    // The instant of the crash: nothing that comes later counts.
    file = isPower ? store.fail() : Buffer.from(store.bytes)
    numbers = isPower ? disk.fail() : [...disk.numbers]
    const clean = below(4) === 0
    over = true
    await Promise.all(writers)
    if (clean) {
      await drive.flush()
      await drive.close()
      file = Buffer.from(store.bytes)
      numbers = [...disk.numbers]
    }

    async function backUp(): Promise<void> {
      const uuid = `uuid-${++uuids}`
      const parent = archives.length === 0 ? null : archives[below(archives.length)]
      const next = await drive.nextGeneration(uuid, parent?.uuid ?? null)
      const unfinished = drive.intercept(NO_COPY as never)
      const changes = next.begin()
      drive.release()
      const now = [...disk.numbers]
      await Promise.all(unfinished.map(({ gate }) => gate.passed()))
      for (const { first } of unfinished) {
        const at = Math.floor((first * CLUSTER_SIZE) / REGION)
        now[at] = disk.numbers[at]
      }
      if (parent !== null) check(parent, changes, unfinished, now)
      for (let turns = below(10); turns > 0; turns--) await turn()
      if (below(4) === 0) return next.abandon()
      archives.push({ uuid, numbers: now })
      archives = archives.slice(-12)
      if (below(2) === 0) await Promise.resolve(drive.flush()).then(() => next.seal())
    }
  }
  t.diagnostic(JSON.stringify(figures))
  assert.ok(figures.known > 20 && figures.small > 5, JSON.stringify(figures))

  function check(
    parent: Archive,
    changes: Awaited<ReturnType<GuestDrive['nextGeneration']>> extends { begin(): infer C } ? C : never,
    unfinished: { first: number; last: number }[],
    now: number[],
  ): void {
    if ('unknown' in changes) {
      figures.unknown++
      return
    }
    figures.known++
    const { clusters } = changes
    for (const { first, last } of unfinished) clusters.include(first, last)
    if (clusters.count < clusters.size / 2) figures.small++
    for (const [region, number] of now.entries()) {
      const isIn = clusters.has((region * REGION) / CLUSTER_SIZE)
      assert.ok(isIn || number === parent.numbers[region], `region ${region} has changed since ${parent.uuid}`)
    }
  }
})

/** Nothing is copied: the test looks at the disk at the point in time. */
const NO_COPY = {
  isHolding: false,
  has: () => true,
  waits: () => ({ end() {}, pause() {}, resume() {} }),
}
