/** Work that is under way several pieces at once, and whose results go on in the order in which it was begun. */

import type { Chunk } from '../../core/items.ts'
import type { Push } from '../../core/stage.ts'

export class InOrder {
  readonly #push: Push<Chunk>
  readonly #limit: number
  #underWay = 0
  #last: Promise<void> = Promise.resolve()
  #wake: (() => void) | null = null
  #failure: { error: unknown } | null = null

  /** At most `limit` pieces of work are under way. */
  constructor(limit: number, push: Push<Chunk>) {
    this.#limit = limit
    this.#push = push
  }

  /**
   * Passes the chunk on when its turn comes; `look` sees it just before. Resolves when there is room for more work,
   * and throws what went wrong with this or any earlier one.
   */
  async add(work: Promise<Chunk>, look?: (chunk: Chunk) => void): Promise<void> {
    this.#underWay++
    this.#last = this.#turn(this.#last, work, look)
    while (this.#underWay >= this.#limit && this.#failure === null) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    if (this.#failure !== null) throw this.#failure.error
  }

  /** Runs `check` when everything begun before it has gone on. */
  afterwards(check: () => void): void {
    this.#last = this.#last.then(() => this.#attempt(check))
  }

  /** Resolves when everything has gone on; throws what went wrong. */
  async drain(): Promise<void> {
    await this.#last
    if (this.#failure !== null) throw this.#failure.error
  }

  /** Nothing goes on any more; resolves when nothing is under way. */
  async stop(error: unknown): Promise<void> {
    this.#failure ??= { error }
    this.#wake?.()
    await this.#last
  }

  /** Never rejects: an error is kept for who adds or drains. */
  async #turn(before: Promise<void>, work: Promise<Chunk>, look?: (chunk: Chunk) => void): Promise<void> {
    const [, result] = await Promise.allSettled([before, work])
    if (result.status === 'rejected') this.#failure ??= { error: result.reason }
    else if (this.#failure !== null) result.value.release()
    else this.#attempt(() => this.#emit(result.value, look))
    this.#underWay--
    this.#wake?.()
  }

  #emit(chunk: Chunk, look?: (chunk: Chunk) => void): void {
    try {
      look?.(chunk)
    } catch (error) {
      chunk.release()
      throw error
    }
    this.#push(chunk)
  }

  #attempt(action: () => void): void {
    if (this.#failure !== null) return
    try {
      action()
    } catch (error) {
      this.#failure = { error }
    }
  }
}
