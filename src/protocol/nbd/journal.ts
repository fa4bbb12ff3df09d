/**
 * The changes that a server has acknowledged and may not have made durable: those since the last flush. If the server goes away
 * it may lose them, though to the guest they are done; so they are kept, and made again when it is back. Then the next
 * flush is as good as its word. They take `capacity` bytes at most: who wants to add more has to flush first.
 *
 * The payload is copied into a ring, as the guest's buffers are used again as soon as its write is answered.
 */

import * as nbd from './constants.ts'

export interface Change {
  /** CMD_WRITE, CMD_WRITE_ZEROES or CMD_TRIM. */
  type: number
  flags: number
  offset: number
  length: number
  /** What a CMD_WRITE writes. */
  payload: readonly Uint8Array[] | undefined
}

type Sized = Pick<Change, 'type' | 'length'>

interface Entry extends Omit<Change, 'payload'> {
  /** Where its payload begins, in bytes since the first one. */
  start: number
}

/** What an entry counts for besides its payload, so that there are not too many of them. */
const ENTRY_BYTES = 64

export class Journal {
  readonly capacity: number
  readonly #entries: Entry[] = []
  #ring: Buffer | null = null
  /** Bytes of payload that were ever added. */
  #end = 0
  #used = 0
  #reserved = 0
  /** Entries that were ever dropped. */
  #dropped = 0

  /** `capacity` in bytes: more than the largest request. */
  constructor(capacity: number) {
    this.capacity = capacity
  }

  /** Bytes that are kept. */
  get used(): number {
    return this.#used
  }

  get isEmpty(): boolean {
    return this.#entries.length === 0
  }

  /** Room for a change that is about to be asked for; false if there is none now. `add` takes it, or `cancel` gives it back. */
  reserve(change: Sized): boolean {
    if (this.#used + this.#reserved + roomOf(change) > this.capacity) return false
    this.#reserved += roomOf(change)
    return true
  }

  cancel(change: Sized): void {
    this.#reserved -= roomOf(change)
  }

  /** The change, for which there is room, was acknowledged. */
  add({ type, flags, offset, length, payload = [] }: Change): void {
    const entry = { type, flags, offset, length, start: this.#end }
    this.cancel(entry)
    this.#entries.push(entry)
    this.#used += roomOf(entry)
    this.#ring ??= Buffer.allocUnsafeSlow(this.capacity)
    for (const buffer of payload) {
      for (let done = 0; done < buffer.byteLength; ) {
        const at = this.#end % this.capacity
        const part = buffer.subarray(done, done + this.capacity - at)
        this.#ring.set(part, at)
        this.#end += part.byteLength
        done += part.byteLength
      }
    }
  }

  /** To be asked before a flush; then `drop` forgets what was acknowledged before it. */
  get mark(): number {
    return this.#dropped + this.#entries.length
  }

  drop(mark: number): void {
    const gone = this.#entries.splice(0, Math.max(0, mark - this.#dropped))
    this.#dropped += gone.length
    for (const entry of gone) this.#used -= roomOf(entry)
  }

  /**
   * What brings a server to the state of now, whatever it has lost of the changes. No two of them touch the same bytes, so that
   * their order does not matter, and nothing that is durable gets older data on the way.
   */
  changes(): Change[] {
    const covered: number[] = []
    const changes: Change[] = []
    for (const entry of this.#entries.toReversed()) {
      for (const [from, to] of claim(covered, entry.offset, entry.offset + entry.length)) {
        const { type, flags } = entry
        changes.push({ type, flags, offset: from, length: to - from, payload: this.#payload(entry, from, to) })
      }
    }
    return changes
  }

  #payload({ type, start, offset }: Entry, from: number, to: number): Uint8Array[] | undefined {
    if (type !== nbd.CMD_WRITE) return undefined
    const at = (start + from - offset) % this.capacity
    const first = this.#ring!.subarray(at, at + to - from)
    const rest = to - from - first.length
    return rest === 0 ? [first] : [first, this.#ring!.subarray(0, rest)]
  }
}

function roomOf({ type, length }: Sized): number {
  return ENTRY_BYTES + (type === nbd.CMD_WRITE ? length : 0)
}

/**
 * The parts of `start`..`end` that no range covers yet; from then on they are covered. `ranges`: disjoint and in order, start,
 * end, start, end, ...
 */
export function claim(ranges: number[], start: number, end: number): [from: number, to: number][] {
  let low = 0
  for (let high = ranges.length / 2; low < high; ) {
    const middle = (low + high) >> 1
    if (ranges[2 * middle + 1] < start) low = middle + 1
    else high = middle
  }
  const free: [number, number][] = []
  let [from, to, position, next] = [start, end, start, low]
  for (; 2 * next < ranges.length && ranges[2 * next] <= end; next++) {
    const [rangeStart, rangeEnd] = [ranges[2 * next], ranges[2 * next + 1]]
    if (rangeStart > position) free.push([position, rangeStart])
    position = Math.max(position, rangeEnd)
    from = Math.min(from, rangeStart)
    to = Math.max(to, rangeEnd)
  }
  if (position < end) free.push([position, end])
  ranges.splice(2 * low, 2 * (next - low), from, to)
  return free
}
