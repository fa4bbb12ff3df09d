/** Work that is under way several pieces at once, and whose results go on in the order in which it was begun. */

import { Chunk } from '../../core/items.ts'
import type { Push } from '../../core/stage.ts'

export class InOrder {
  readonly #push: Push<Chunk>
  readonly #limit: number
  #underWay = 0
  #emitted = 0
  #passed = 0
  #last: Promise<void> = Promise.resolve()
  #wake: (() => void) | null = null
  #failure: { error: unknown } | null = null

  /** At most `limit` pieces of work are under way. */
  constructor(limit: number, push: Push<Chunk>) {
    this.#limit = limit
    this.#push = push
  }

  /** Bytes that have gone on. */
  get emitted(): number {
    return this.#emitted
  }

  /** Bytes that were given to `pass`, whether their turn has come or not. */
  get passed(): number {
    return this.#passed
  }

  /**
   * Begins work when there is room for it, and passes its chunk on when its turn comes; `look` sees it just before.
   * Throws what went wrong with any earlier one.
   */
  async add(begin: () => Promise<Chunk>, look?: (chunk: Chunk) => void): Promise<void> {
    await this.#room()
    this.#begin(begin(), look)
  }

  /** The same for a chunk that is there already. */
  async pass(chunk: Chunk, look?: (chunk: Chunk) => void): Promise<void> {
    this.#passed += chunk.byteLength
    try {
      await this.#room()
    } catch (error) {
      chunk.release()
      throw error
    }
    this.#begin(Promise.resolve(chunk), look)
  }

  /** Runs `check` when everything begun before it has gone on, and passes on the chunk that it may give. */
  afterwards(check: () => unknown): void {
    const action = () => {
      const chunk = check()
      if (chunk instanceof Chunk) this.#push(chunk)
    }
    this.#last = this.#last.then(() => this.#attempt(action))
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

  async #room(): Promise<void> {
    while (this.#underWay >= this.#limit && this.#failure === null) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    if (this.#failure !== null) throw this.#failure.error
  }

  #begin(work: Promise<Chunk>, look?: (chunk: Chunk) => void): void {
    this.#underWay++
    const counted = work.finally(() => {
      this.#underWay--
      this.#wake?.()
    })
    this.#last = this.#turn(this.#last, counted, look)
  }

  /** Never rejects: an error is kept for who adds or drains. */
  async #turn(before: Promise<void>, work: Promise<Chunk>, look?: (chunk: Chunk) => void): Promise<void> {
    const [, result] = await Promise.allSettled([before, work])
    if (result.status === 'rejected') this.#failure ??= { error: result.reason }
    else if (this.#failure !== null) result.value.release()
    else this.#attempt(() => this.#emit(result.value, look))
    if (this.#failure !== null) this.#wake?.()
  }

  #emit(chunk: Chunk, look?: (chunk: Chunk) => void): void {
    try {
      look?.(chunk)
    } catch (error) {
      chunk.release()
      throw error
    }
    this.#emitted += chunk.byteLength
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
