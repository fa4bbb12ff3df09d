/**
 * What an overlay's map has more than its file, for the case that only this process is killed: a guest that goes on when
 * it is served again has not lost a write, as the system's memory still has them all. The file is as the map's, with the
 * kernel's boot id; after a restart of the system it is nothing any more, as blocks that it tells of may be lost.
 */

import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import { type BlockMap, ChangedPages } from './block-map.ts'
import { MapFile, type OverlayIdentity } from './map-file.ts'

export class RecentMap {
  readonly #file: MapFile
  readonly #map: BlockMap
  readonly #changed: ChangedPages
  /** Those that are being written. */
  #written = new ChangedPages()
  #writing: Promise<void> | null = null
  #next: Promise<void> | null = null

  private constructor(file: MapFile, map: BlockMap) {
    this.#file = file
    this.#map = map
    this.#changed = map.track()
  }

  /** Adds to the map what the file at `path` knows more; makes one where there is none, or none that is good. */
  static async open(path: string, identity: OverlayIdentity, map: BlockMap): Promise<RecentMap> {
    const mine = { ...identity, boot: await bootId() }
    await (await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)).close()
    const file = await MapFile.open(path)
    try {
      if (await file.isOf(mine)) await file.load(mine, map)
      else await file.create(mine)
      return new RecentMap(file, map)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** Whether the file has all that the map says of these blocks. */
  has(from: number, to: number): boolean {
    return !this.#changed.touches(from, to) && !this.#written.touches(from, to)
  }

  /** Resolves when the file has all that the map says now. Who comes while it is written goes with the next write. */
  record(): Promise<void> {
    if (this.#writing === null) return this.#start()
    const start = () => this.#start()
    this.#next ??= this.#writing.then(start, start)
    return this.#next
  }

  async close(): Promise<void> {
    await this.#next?.catch(() => {})
    await this.#writing?.catch(() => {})
    await this.#file.close()
  }

  #start(): Promise<void> {
    this.#next = null
    this.#writing = this.#write().finally(() => {
      this.#writing = null
    })
    return this.#writing
  }

  async #write(): Promise<void> {
    if (this.#changed.isEmpty) return
    this.#written = this.#changed.take()
    try {
      await this.#file.write(this.#file.encode(this.#map, this.#written))
    } catch (error) {
      this.#changed.putBack(this.#written)
      throw error
    } finally {
      this.#written = new ChangedPages()
    }
  }
}

/** 16 bytes for as long as the system runs; where it does not tell, for as long as this process does. */
async function bootId(): Promise<Buffer> {
  const text = await readFile('/proc/sys/kernel/random/boot_id', 'latin1').catch(() => randomUUID())
  return Buffer.from(text.trim().replaceAll('-', ''), 'hex')
}
