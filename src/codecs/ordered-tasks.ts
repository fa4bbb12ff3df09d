/** Runs several pieces of work at once and passes on their results in the order in which the work was begun. */

import { Bell } from '../core/bell.ts'
import { Chunk } from '../core/items.ts'
import type { Push } from '../core/stage.ts'

export class OrderedTasks {
  readonly #push: Push<Chunk>
  readonly #limit: number
  #underWay = 0
  #emitted = 0
  #passed = 0
  #last: Promise<void> = Promise.resolve()
  /** Rings when there may be room for more work. */
  readonly #bell = new Bell()
  #failure: { error: unknown } | null = null

  /** At most `limit` pieces of work are under way. */
  constructor(limit: number, push: Push<Chunk>) {
    this.#limit = limit
    this.#push = push
  }

  /** Bytes that were passed on. */
  get emitted(): number {
    return this.#emitted
  }

  /** Bytes that were given to `pass`, whether their turn has come or not. */
  get passed(): number {
    return this.#passed
  }

  /**
   * Begins work when there is room for it, and passes its chunk on in order. `look` is called just before. Throws the error of any
   * earlier work.
   */
  async add(begin: () => Promise<Chunk>, look?: (chunk: Chunk) => void): Promise<void> {
    await this.#room()
    this.#begin(begin(), look)
  }

  /** The same for a finished chunk. */
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

  /** Runs `check` when all earlier results were passed on, and passes on its chunk, if it returns one. */
  afterwards(check: () => unknown): void {
    const action = () => {
      const chunk = check()
      if (chunk instanceof Chunk) this.#push(chunk)
    }
    this.#last = this.#last.then(() => this.#attempt(action))
  }

  /** Resolves when everything was passed on. Throws the error of any work. */
  async drain(): Promise<void> {
    await this.#last
    if (this.#failure !== null) throw this.#failure.error
  }

  /** Passes on nothing more. Resolves when no work runs any more. */
  async stop(error: unknown): Promise<void> {
    this.#failure ??= { error }
    this.#bell.ring()
    await this.#last
  }

  async #room(): Promise<void> {
    while (this.#underWay >= this.#limit && this.#failure === null) await this.#bell.next()
    if (this.#failure !== null) throw this.#failure.error
  }

  #begin(work: Promise<Chunk>, look?: (chunk: Chunk) => void): void {
    this.#underWay++
    const counted = work.finally(() => {
      this.#underWay--
      this.#bell.ring()
    })
    this.#last = this.#turn(this.#last, counted, look)
  }

  /** Never rejects: the error is kept for the next call of `add` or `drain`. */
  async #turn(before: Promise<void>, work: Promise<Chunk>, look?: (chunk: Chunk) => void): Promise<void> {
    const [, result] = await Promise.allSettled([before, work])
    if (result.status === 'rejected') this.#failure ??= { error: result.reason }
    else if (this.#failure !== null) result.value.release()
    else this.#attempt(() => this.#emit(result.value, look))
    if (this.#failure !== null) this.#bell.ring()
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
