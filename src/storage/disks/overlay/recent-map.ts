/**
 * Keeps the blocks of an overlay that its durable map does not have yet, for the case that only this process is killed. The page cache
 * then still has all writes, so a guest that continues has lost none. The file has the form of the map's file, with the boot id of the
 * kernel. It is not valid after a restart of the system, because blocks that it names may be lost.
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
  /** The pages that are being written. */
  #written = new ChangedPages()
  #writing: Promise<void> | null = null
  #next: Promise<void> | null = null

  private constructor(file: MapFile, map: BlockMap) {
    this.#file = file
    this.#map = map
    this.#changed = map.track()
  }

  /** Adds the blocks of the file at `path` to the map. Makes a new file if there is none that is valid. */
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

  /** Whether the file is up to date for these blocks. */
  has(from: number, to: number): boolean {
    return !this.#changed.touches(from, to) && !this.#written.touches(from, to)
  }

  /** Resolves when the file has all blocks of the map. Callers that come while it is written share the next write. */
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

/** The boot id: 16 bytes that are the same as long as the system runs. If it is unknown, random bytes for this process. */
async function bootId(): Promise<Buffer> {
  const text = await readFile('/proc/sys/kernel/random/boot_id', 'latin1').catch(() => randomUUID())
  return Buffer.from(text.trim().replaceAll('-', ''), 'hex')
}
