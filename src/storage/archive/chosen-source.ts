/** A source that is chosen when it is opened, by what is found there. */

import { VmapipeError } from '../../core/errors.ts'
import type { Chunk } from '../../core/items.ts'
import type { ArchiveSource } from './endpoint.ts'

export class ChosenSource implements ArchiveSource {
  readonly #choose: () => Promise<ArchiveSource>
  #source: ArchiveSource | null = null
  #isClosed = false

  constructor(choose: () => Promise<ArchiveSource>) {
    this.#choose = choose
  }

  get size(): number | undefined {
    return this.#source?.size
  }

  async open(): Promise<void> {
    this.#source = await this.#choose()
    if (this.#isClosed) throw new VmapipeError('ABORTED', 'aborted')
    await this.#source.open()
  }

  read(): Promise<Chunk | null> {
    return this.#source!.read()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await this.#source?.close()
  }
}
