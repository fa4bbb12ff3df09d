/**
 * Keeps the changes that a server has acknowledged and may not have made durable: those since the last flush. A server that goes
 * away may lose them, although the guest has been told that they are done. So they are made again when the server is back, and the
 * next flush covers them. They take at most `capacity` bytes: before more can be added, a flush must succeed.
 *
 * The payload is copied into a ring, because the guest's buffers are used again as soon as its write is answered.
 */

import * as nbd from './constants.ts'

export interface Change {
  /** CMD_WRITE, CMD_WRITE_ZEROES or CMD_TRIM. */
  type: number
  flags: number
  offset: number
  length: number
  /** The data of a CMD_WRITE. */
  payload: readonly Uint8Array[] | undefined
}

type Sized = Pick<Change, 'type' | 'length'>

interface Entry extends Omit<Change, 'payload'> {
  /** The position of its payload: the number of bytes of payload that were added before. */
  start: number
}

/** The bytes that an entry counts for besides its payload. They limit the number of entries. */
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

  /** The bytes that are kept. */
  get used(): number {
    return this.#used
  }

  get isEmpty(): boolean {
    return this.#entries.length === 0
  }

  /** Reserves space for a change that is about to be sent. False if there is none now. `add` uses it, or `cancel` gives it back. */
  reserve(change: Sized): boolean {
    if (this.#used + this.#reserved + roomOf(change) > this.capacity) return false
    this.#reserved += roomOf(change)
    return true
  }

  cancel(change: Sized): void {
    this.#reserved -= roomOf(change)
  }

  /** Adds a change that was acknowledged, and for which space was reserved. */
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

  /** A mark to take before a flush. `drop` then forgets what was acknowledged before it. */
  get mark(): number {
    return this.#dropped + this.#entries.length
  }

  drop(mark: number): void {
    const gone = this.#entries.splice(0, Math.max(0, mark - this.#dropped))
    this.#dropped += gone.length
    for (const entry of gone) this.#used -= roomOf(entry)
  }

  /**
   * The changes that bring a server up to date, whichever of them it has lost. No two of them touch the same bytes. So their order
   * does not matter, and no durable data is overwritten by older data meanwhile.
   */
  changes(): Change[] {
    const covered: number[] = []
    const changes: Change[] = []
    for (const entry of this.#entries.toReversed()) {
      for (const [from, to] of cover(covered, entry.offset, entry.offset + entry.length)) {
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
 * Adds `start`..`end` to the ranges, and returns the parts of it that they did not cover before. `ranges`: disjoint and in order,
 * start, end, start, end, ...
 */
export function cover(ranges: number[], start: number, end: number): [from: number, to: number][] {
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
