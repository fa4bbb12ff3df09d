/**
 * Collects the runs of a drive in columns, piece by piece: arrays that grow would take twice their memory each time. Each column is
 * written at one place in the code, which makes a run of a large index several times as cheap as four arrays of one class.
 */

const PIECE = 1 << 16
const FIRST_PIECE = 64
/** What a place in the next extent is more: see DriveRuns in cluster-index.ts. */
const NEXT_EXTENT = 2

interface Columns {
  firsts: Uint32Array
  counts: Uint8Array
  places: Uint32Array
  before: Uint8Array
}

const column = {
  firsts: (length: number) => new Uint32Array(length),
  counts: (length: number) => new Uint8Array(length),
  places: (length: number) => new Uint32Array(length),
  before: (length: number) => new Uint8Array(length),
}

const columns = (length: number): Columns => ({
  firsts: column.firsts(length),
  counts: column.counts(length),
  places: column.places(length),
  before: column.before(length),
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

  /** Adds `times` runs of as many clusters, each behind the one before and in the next extent, with nothing before it there. */
  pushSeries(first: number, count: number, place: number, times: number): void {
    for (let done = 0; done < times; ) {
      if (this.#used === this.#last.firsts.length) this.#grow()
      const { firsts, counts, places, before } = this.#last
      const from = this.#used
      const end = Math.min(firsts.length, from + times - done)
      for (let at = from; at < end; at++, done++) {
        firsts[at] = first + done * count
        places[at] = place + done * NEXT_EXTENT
      }
      counts.fill(count, from, end)
      before.fill(0, from, end)
      this.#used = end
    }
  }

  /** Removes a column and returns it in one array. Nothing can be added then. */
  take<K extends keyof Columns>(name: K): Columns[K] {
    const length = (this.#pieces.length - 1) * PIECE + this.#used
    const all = column[name](length) as Columns[K]
    for (const [at, piece] of this.#pieces.entries()) {
      all.set(piece === this.#last ? piece[name].subarray(0, this.#used) : piece[name], at * PIECE)
      piece[name] = column[name](0) as Columns[K]
    }
    return all
  }

  #grow(): void {
    if (this.#used < PIECE) {
      const larger = columns(this.#used * 4)
      for (const name of Object.keys(larger) as (keyof Columns)[]) larger[name].set(this.#last[name])
      this.#pieces[0] = larger
      this.#last = larger
      return
    }
    this.#last = columns(PIECE)
    this.#pieces.push(this.#last)
    this.#used = 0
  }
}
