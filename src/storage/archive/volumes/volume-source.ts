/** Reads the volumes of an archive one after the other, as one file. */

import { constants } from 'node:fs'
import type { Chunk } from '../../../core/items.ts'
import { openFd } from '../../../system/pipe-fd.ts'
import type { ArchiveSource, SourceOptions } from '../endpoint.ts'
import { FileSource } from '../file-source.ts'
import type { FoundVolume } from './volume-set.ts'

export class VolumeSource implements ArchiveSource {
  readonly size: number
  readonly #volumes: readonly FoundVolume[]
  readonly #options: SourceOptions
  #next = 0
  #source: FileSource | null = null

  constructor(volumes: readonly FoundVolume[], options: SourceOptions) {
    this.#volumes = volumes
    this.#options = options
    this.size = volumes.reduce((sum, { size }) => sum + size, 0)
  }

  open(): Promise<void> {
    return this.#openNext()
  }

  async read(): Promise<Chunk | null> {
    for (;;) {
      const chunk = await this.#source!.read()
      if (chunk !== null || this.#next === this.#volumes.length) return chunk
      await this.#source!.close()
      await this.#openNext()
    }
  }

  async close(): Promise<void> {
    await this.#source?.close()
  }

  async #openNext(): Promise<void> {
    const { path, size } = this.#volumes[this.#next++]
    const fd = await openFd(path, constants.O_RDONLY | constants.O_NONBLOCK)
    this.#source = new FileSource({ fd, owned: true, name: path, start: 0, size }, this.#options)
    await this.#source.open()
  }
}
