import { violation } from './violation.ts'

/** More gaps than any server leaves. It bounds what a hostile server makes us keep and search. */
const MAX_GAPS = 4096

/**
 * Notes which bytes of a request have come. Chunks may come in any order ("Structured reply chunk message"). They must be within
 * the request, must not overlap, and together must cover it.
 */
export class Coverage {
  readonly #length: number
  /** Disjoint intervals in order, never adjoining: start, end, start, end, ... */
  readonly #bounds: number[] = []
  #covered = 0

  constructor(length: number) {
    this.#length = length
  }

  get isComplete(): boolean {
    return this.#covered === this.#length
  }

  /** Adds `start`..`end`, relative to the request. Throws if the range is not within the request, or has come before. */
  add(start: number, end: number): void {
    if (!(start >= 0 && start < end && end <= this.#length)) {
      throw violation(`a chunk of bytes ${start} to ${end} of a request for ${this.#length}`)
    }
    const bounds = this.#bounds
    let i = bounds.length
    while (i > 0 && bounds[i - 2] >= end) i -= 2
    if (i > 0 && bounds[i - 1] > start) throw violation(`a chunk that comes twice, at byte ${start} of a request`)
    const joinsLeft = i > 0 && bounds[i - 1] === start
    const joinsRight = i < bounds.length && bounds[i] === end
    if (joinsLeft && joinsRight) bounds.splice(i - 1, 2)
    else if (joinsLeft) bounds[i - 1] = end
    else if (joinsRight) bounds[i] = start
    else bounds.splice(i, 0, start, end)
    if (bounds.length > 2 * MAX_GAPS) throw violation('a reply in too many pieces')
    this.#covered += end - start
  }
}
