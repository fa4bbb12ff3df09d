/** Tells which blocks an overlay has. Two files keep it: one survives a power failure, one only a kill of this process. */

import { asVmapipeError } from '../../../core/errors.ts'
import type { Done } from '../../disk.ts'
import { BlockMap, type ChangedPages } from './block-map.ts'
import { BLOCK, MapFile, type OverlayIdentity } from './map-file.ts'
import { RecentMap } from './recent-map.ts'

/** Bytes of the disk of which the overlay has all, or none. */
export interface OverlayPart {
  offset: number
  length: number
  there: boolean
}

/** There was no space for the map. Nothing is lost, and a flush may be tried again. */
export class MapFull extends Error {
  constructor(cause: unknown) {
    super('no room for the map of the overlay', { cause })
  }
}

interface OverlayMapParts {
  blocks: BlockMap
  /** The pages that `file` does not have yet. */
  changed: ChangedPages
  file: Pick<MapFile, 'encode' | 'write' | 'sync' | 'close'>
  recent: Pick<RecentMap, 'has' | 'record' | 'close'>
}

export class OverlayMap {
  readonly blocks: BlockMap
  readonly #changed: ChangedPages
  #file: OverlayMapParts['file'] | null
  #recent: OverlayMapParts['recent'] | null
  /** Pages are being written to the file, or could not be written. */
  #syncing = false

  constructor({ blocks, changed, file, recent }: OverlayMapParts) {
    this.blocks = blocks
    this.#changed = changed
    this.#file = file
    this.#recent = recent
  }

  /** Reads the files `path`, which must exist, and `recentPath`. */
  static async open(path: string, recentPath: string, identity: OverlayIdentity): Promise<OverlayMap> {
    const blocks = new BlockMap(Math.ceil(identity.size / BLOCK))
    const file = await MapFile.open(path)
    try {
      await file.load(identity, blocks)
      const changed = blocks.track()
      return new OverlayMap({ blocks, changed, file, recent: await RecentMap.open(recentPath, identity, blocks) })
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** The range in parts, each as long as possible. A part is as the map is when the part is asked for. */
  *parts(offset: number, length: number): Generator<OverlayPart> {
    const end = offset + length
    const to = Math.ceil(end / BLOCK)
    for (let from = offset; from < end; ) {
      const block = Math.floor(from / BLOCK)
      const next = Math.min(end, this.blocks.runEnd(block, to) * BLOCK)
      yield { offset: from, length: next - from, there: this.blocks.has(block) }
      from = next
    }
  }

  /** Whether the durable file is up to date for these blocks. */
  isDurable(from: number, to: number): boolean {
    return !this.#syncing && !this.#changed.touches(from, to)
  }

  /** Whether the map of these blocks survives a kill of this process. */
  isRecorded(from: number, to: number): boolean {
    return this.#recent === null || this.#recent.has(from, to)
  }

  /** Makes the map survive a kill of this process. */
  async record(): Promise<void> {
    await this.#recent?.record()
  }

  /**
   * Makes the blocks durable by `flush`, and then the map as it was before. A block that is added meanwhile is left for the next
   * time, as `flush` may not include it. Not to be called while it runs, nor after any failure but MapFull.
   */
  async sync(flush: () => Done): Promise<void> {
    this.#syncing = true
    const pages = this.#changed.take()
    const encoded = this.#file?.encode(this.blocks, pages) ?? []
    await flush()
    if (encoded.length > 0) {
      try {
        await this.#file?.write(encoded)
      } catch (error) {
        if (!isFull(error)) throw error
        this.#changed.putBack(pages)
        this.#syncing = false
        throw new MapFull(error)
      }
      await this.#file?.sync()
    }
    this.#syncing = false
  }

  /** Closes the files. The map in memory stays. */
  async close(): Promise<void> {
    const files = [this.#file, this.#recent]
    this.#file = this.#recent = null
    for (const file of files) await file?.close()
  }
}

function isFull(error: unknown): boolean {
  const { code } = (asVmapipeError(error).cause ?? {}) as NodeJS.ErrnoException
  return code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG'
}
