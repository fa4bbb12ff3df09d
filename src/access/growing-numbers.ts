/** Collects numbers in several arrays: one array that grows would take twice its memory each time. */

type Numbers = Uint32Array | Uint16Array | Uint8Array | Float64Array

const PIECE = 1 << 16

export class GrowingNumbers<T extends Numbers> {
  readonly #make: new (
    length: number,
  ) => T
  #full: T[] = []
  #last: T
  #used = 0

  constructor(make: new (length: number) => T) {
    this.#make = make
    this.#last = new make(64)
  }

  get length(): number {
    return this.#full.length * PIECE + this.#used
  }

  push(value: number): void {
    if (this.#used === this.#last.length) this.#grow()
    this.#last[this.#used++] = value
  }

  /** Adds `times` numbers: `value`, and then each `step` more than the one before. */
  pushSeries(value: number, step: number, times: number): void {
    for (let done = 0; done < times; ) {
      if (this.#used === this.#last.length) this.#grow()
      const [last, from] = [this.#last, this.#used]
      const end = Math.min(last.length, from + times - done)
      if (step === 0) last.fill(value, from, end)
      else for (let at = from; at < end; at++) last[at] = value + (done + at - from) * step
      done += end - from
      this.#used = end
    }
  }

  /** Removes all numbers and returns them in one array. */
  take(): T {
    const all = new this.#make(this.length)
    for (const [at, piece] of this.#full.entries()) all.set(piece, at * PIECE)
    all.set(this.#last.subarray(0, this.#used), this.#full.length * PIECE)
    this.#full = []
    this.#used = 0
    return all
  }

  #grow(): void {
    if (this.#used < PIECE) {
      const larger = new this.#make(this.#used * 4)
      larger.set(this.#last)
      this.#last = larger
      return
    }
    this.#full.push(this.#last)
    this.#last = new this.#make(PIECE)
    this.#used = 0
  }
}
