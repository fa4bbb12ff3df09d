/** Which blocks an overlay has, and the two files that keep it: one that is durable, one for the case of a kill. */

import { asVmapipeError } from '../../../core/errors.ts'
import type { Done } from '../../disk.ts'
import { BlockMap, type ChangedPages } from './block-map.ts'
import { BLOCK, MapFile, type OverlayIdentity } from './map-file.ts'
import { RecentMap } from './recent-map.ts'

/** Bytes of the disk that are all in the overlay, or all not. */
export interface Stretch {
  offset: number
  length: number
  there: boolean
}

/** There was no room for the map. Nothing is lost: it may be tried again. */
export class MapFull extends Error {
  constructor(cause: unknown) {
    super('no room for the map of the overlay', { cause })
  }
}

interface OverlayMapParts {
  blocks: BlockMap
  /** What `file` does not have yet. */
  changed: ChangedPages
  file: Pick<MapFile, 'encode' | 'write' | 'sync' | 'close'>
  recent: Pick<RecentMap, 'has' | 'record' | 'close'>
}

export class OverlayMap {
  readonly blocks: BlockMap
  readonly #changed: ChangedPages
  #file: OverlayMapParts['file'] | null
  #recent: OverlayMapParts['recent'] | null
  /** Pages are on their way to the file, or will never arrive there. */
  #syncing = false

  constructor({ blocks, changed, file, recent }: OverlayMapParts) {
    this.blocks = blocks
    this.#changed = changed
    this.#file = file
    this.#recent = recent
  }

  /** What the files `path` and `recentPath` have. The first must be there. */
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

  /** The range as it is now, in stretches as long as can be; each is looked for when it is asked for. */
  *stretches(offset: number, length: number): Generator<Stretch> {
    const end = offset + length
    const to = Math.ceil(end / BLOCK)
    for (let from = offset; from < end; ) {
      const block = Math.floor(from / BLOCK)
      const next = Math.min(end, this.blocks.runEnd(block, to) * BLOCK)
      yield { offset: from, length: next - from, there: this.blocks.has(block) }
      from = next
    }
  }

  /** Whether the durable file has all that is known of these blocks. */
  isDurable(from: number, to: number): boolean {
    return !this.#syncing && !this.#changed.touches(from, to)
  }

  /** Whether nothing of these blocks is forgotten should this process be killed. */
  isRecorded(from: number, to: number): boolean {
    return this.#recent === null || this.#recent.has(from, to)
  }

  /** Nothing that is known now is forgotten should this process be killed. */
  async record(): Promise<void> {
    await this.#recent?.record()
  }

  /**
   * Makes durable what is known now, after the blocks are by `flush`: one that is added meanwhile is not told of, as it may
   * not be. Not to be called while it runs, nor after it has failed in another way than with MapFull.
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

  /** Lets go of the files; all is known on, but nothing kept any more. */
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
