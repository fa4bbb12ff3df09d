/**
 * Collects the runs of a drive in columns, piece by piece: arrays that grow would take twice their memory each time. Each column is
 * written at one place in the code, which makes a run of a large index several times as cheap as four arrays of one class.
 */

const PIECE = 1 << 16
const FIRST_PIECE = 64

interface Columns {
  firsts: Uint32Array
  counts: Uint8Array
  places: Uint32Array
  before: Uint8Array
}

const columns = (length: number): Columns => ({
  firsts: new Uint32Array(length),
  counts: new Uint8Array(length),
  places: new Uint32Array(length),
  before: new Uint8Array(length),
})

export class GrowingRuns {
  /** All but the last one are full. */
  readonly #pieces: Columns[] = [columns(FIRST_PIECE)]
  #last = this.#pieces[0]
  #used = 0

  push(first: number, count: number, place: number, before: number): void {
    if (this.#used === this.#last.firsts.length) this.#grow()
    const { firsts, counts, places, before: befores } = this.#last
    const at = this.#used++
    firsts[at] = first
    counts[at] = count
    places[at] = place
    befores[at] = before
  }

  /** Removes a column and returns it in one array. Nothing can be added then. */
  take<K extends keyof Columns>(column: K): Columns[K] {
    const length = (this.#pieces.length - 1) * PIECE + this.#used
    const all = columns(length)[column]
    for (const [at, piece] of this.#pieces.entries()) {
      all.set(piece === this.#last ? piece[column].subarray(0, this.#used) : piece[column], at * PIECE)
      piece[column] = columns(0)[column]
    }
    return all
  }

  #grow(): void {
    if (this.#used < PIECE) {
      const larger = columns(this.#used * 4)
      for (const column of Object.keys(larger) as (keyof Columns)[]) larger[column].set(this.#last[column])
      this.#pieces[0] = larger
      this.#last = larger
      return
    }
    this.#last = columns(PIECE)
    this.#pieces.push(this.#last)
    this.#used = 0
  }
}
