/** Where a file's data is and where its holes are: SEEK_DATA and SEEK_HOLE of lseek(2). */

import { setImmediate } from 'node:timers/promises'
import { VmapipeError } from '../core/errors.ts'
import { CLUSTER_SIZE } from '../core/geometry.ts'
import type { DriveExtent } from './drive.ts'
import { EINVAL, ENXIO, EOPNOTSUPP, SEEK_DATA, SEEK_END, SEEK_HOLE, type Syscalls, syscalls } from './syscalls.ts'

/** Null in their place means that nobody can tell: all is data. */
type SeekCalls = Pick<Syscalls, 'lseek' | 'lseekAsync'>

/** How long the calls may keep the event loop to themselves, in milliseconds. */
const SLICE_MS = 2

/**
 * The extents of `offset`..`offset + length`, all within the file. A call takes a microsecond in the kernel and forty
 * by way of a thread, so the calls are made here, in slices of time; but where one takes longer than a slice (a
 * network filesystem, a long scan for the next hole) the next goes to a thread. `politely`, for those who serve a guest at
 * the same time, every look for a hole goes there: some filesystems (tmpfs) take as long as there is data.
 */
export async function* fileExtents(
  fd: number,
  offset: number,
  length: number,
  calls: SeekCalls | null = syscalls(),
  { politely = false } = {},
): AsyncGenerator<DriveExtent> {
  const end = offset + length
  let position = offset
  const seek = calls && new Seeker(calls, fd, politely)
  while (position < end) {
    const data = seek ? await seek.next(position, SEEK_DATA, end) : position
    if (data > position) yield { offset: position, length: Math.min(data, end) - position, zero: true }
    if (data >= end) return
    const hole = seek ? await seek.next(data, SEEK_HOLE, end) : end
    // A filesystem that gives no progress is not asked again.
    position = hole > data ? Math.min(hole, end) : end
    yield { offset: data, length: position - data, zero: false }
    if (seek?.isDue) await seek.rest()
  }
}

/** Data is looked at in steps of a cluster, and told of in pieces of so many bytes. */
const STEP = CLUSTER_SIZE
const STEPS_AT_ONCE = 16 * STEP

/**
 * The same for a scan beside a guest. The end of data is found by looking for data again and again, never for a hole: for
 * that some filesystems (tmpfs) go through all of the data, and let nobody write to the file meanwhile. What is left of
 * the step in which data ends counts as data.
 */
export async function* extentsByStep(
  fd: number,
  offset: number,
  length: number,
  calls: SeekCalls | null = syscalls(),
): AsyncGenerator<DriveExtent> {
  const end = offset + length
  const seek = calls && new Seeker(calls, fd)
  for (let position = offset; position < end; ) {
    const data = seek ? await seek.next(position, SEEK_DATA, end) : position
    if (data > position) yield { offset: position, length: Math.min(data, end) - position, zero: true }
    if (data >= end) return
    const most = Math.min(end, data - (data % STEPS_AT_ONCE) + STEPS_AT_ONCE)
    let to = data - (data % STEP) + STEP
    while (seek && to < most && (await seek.next(to, SEEK_DATA, end)) === to) to += STEP
    position = seek ? Math.min(to, most) : most
    yield { offset: data, length: position - data, zero: false }
    if (seek?.isDue) await seek.rest()
  }
}

/**
 * Whether there is no data at all in a range within the file. Only the beginning of data is looked for: its end some
 * filesystems (tmpfs) find page by page, however far beyond the range it is.
 */
export function isHole(fd: number, offset: number, length: number, calls: SeekCalls | null = syscalls()): boolean {
  if (calls === null) return false
  const end = offset + length
  const found = calls.lseek(fd, offset, SEEK_DATA)
  return (found >= 0 ? found : notFound(calls, fd, -found, offset, SEEK_DATA, end)) >= end
}

class Seeker {
  readonly #calls: SeekCalls
  readonly #fd: number
  readonly #politely: boolean
  #sliceStart = performance.now()
  #lastTook = 0
  #now = this.#sliceStart

  constructor(calls: SeekCalls, fd: number, politely = false) {
    this.#calls = calls
    this.#fd = fd
    this.#politely = politely
  }

  get isDue(): boolean {
    return this.#now - this.#sliceStart > SLICE_MS
  }

  async rest(): Promise<void> {
    await setImmediate()
    this.#sliceStart = performance.now()
  }

  /** Where the next data or hole from `position` begins; past the last data that is `end`. */
  async next(position: number, whence: number, end: number): Promise<number> {
    const before = performance.now()
    const found =
      this.#lastTook > SLICE_MS || (this.#politely && whence === SEEK_HOLE)
        ? await this.#calls.lseekAsync(this.#fd, position, whence)
        : this.#calls.lseek(this.#fd, position, whence)
    this.#now = performance.now()
    this.#lastTook = this.#now - before
    return found >= 0 ? Math.max(found, position) : notFound(this.#calls, this.#fd, -found, position, whence, end)
  }
}

/** Where a look ends that has found nothing. */
function notFound(calls: SeekCalls, fd: number, errno: number, position: number, whence: number, end: number): number {
  if (errno === ENXIO) {
    // Nothing but a hole follows, unless the file has become shorter: then there is nothing at all.
    const size = calls.lseek(fd, 0, SEEK_END)
    if (size >= end) return end
    throw new VmapipeError('FAILED', `the file has shrunk to ${size} bytes while it was read`, { offset: position })
  }
  // A filesystem that cannot tell: all of it is data.
  if (errno === EINVAL || errno === EOPNOTSUPP) return whence === SEEK_DATA ? position : end
  throw new VmapipeError('FAILED', `looking for holes failed (errno ${errno})`, { offset: position })
}
