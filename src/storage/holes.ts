/** Finds the data and the holes of a file: SEEK_DATA and SEEK_HOLE of lseek(2). */

import { setImmediate } from 'node:timers/promises'
import { VmapipeError } from '../core/errors.ts'
import { CLUSTER_SIZE } from '../core/geometry.ts'
import {
  EINVAL,
  ENXIO,
  EOPNOTSUPP,
  SEEK_DATA,
  SEEK_END,
  SEEK_HOLE,
  type Syscalls,
  syscalls,
} from '../system/syscalls.ts'
import type { DriveExtent } from './drive.ts'

/** The system calls. Without them (null) all counts as data. */
type SeekCalls = Pick<Syscalls, 'lseek' | 'lseekAsync'>

/** Milliseconds that the calls may block the event loop. */
const SLICE_MS = 2

/**
 * The extents of `offset`..`offset + length`, all within the file. A call takes 1 µs in the calling thread, and 40 µs in another one.
 * So the calls are made here, in slices of time. After a call that took longer than a slice (a network filesystem, a long scan for the
 * next hole) the next one goes to another thread. `politely`: so does every look for a hole, because some filesystems (tmpfs) look
 * through all of the data for that, and a guest is served at the same time. `remote`: so does every call.
 */
export async function* fileExtents(
  fd: number,
  offset: number,
  length: number,
  calls: SeekCalls | null = syscalls(),
  { politely = false, remote = false } = {},
): AsyncGenerator<DriveExtent> {
  const end = offset + length
  let position = offset
  const seek = calls && new Seeker(calls, fd, { politely, remote })
  while (position < end) {
    const data = seek ? await seek.next(position, SEEK_DATA, end) : position
    if (data > position) yield { offset: position, length: Math.min(data, end) - position, zero: true }
    if (data >= end) return
    const hole = seek ? await seek.next(data, SEEK_HOLE, end) : end
    // If the filesystem gives no progress, the rest counts as data.
    position = hole > data ? Math.min(hole, end) : end
    yield { offset: data, length: position - data, zero: false }
    if (seek?.isDue) await seek.rest()
  }
}

/** Looks at data in steps of a cluster, and gives extents of 16 clusters at most. */
const STEP = CLUSTER_SIZE
const STEPS_AT_ONCE = 16 * STEP

/**
 * The same for a scan beside a guest. It finds the end of data by looking for data again and again, never for a hole: for a hole some
 * filesystems (tmpfs) look through all of the data, and nobody can write to the file meanwhile. The rest of the step in which data
 * ends counts as data.
 */
export async function* extentsByStep(
  fd: number,
  offset: number,
  length: number,
  calls: SeekCalls | null = syscalls(),
  { remote = false } = {},
): AsyncGenerator<DriveExtent> {
  const end = offset + length
  const seek = calls && new Seeker(calls, fd, { remote })
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
 * Whether there is no data in a range within the file. It looks only for the beginning of data, because some filesystems (tmpfs) look
 * for its end page by page, even far behind the range.
 */
export function isHole(fd: number, offset: number, length: number, calls: SeekCalls | null = syscalls()): boolean {
  if (calls === null) return false
  const end = offset + length
  const found = calls.lseek(fd, offset, SEEK_DATA)
  if (found >= 0) return found >= end
  return notFound(calls.lseek(fd, 0, SEEK_END), -found, offset, SEEK_DATA, end) >= end
}

/** The same in another thread, for filesystems that may block. */
export async function isHoleAsync(
  fd: number,
  offset: number,
  length: number,
  calls: SeekCalls | null = syscalls(),
): Promise<boolean> {
  if (calls === null) return false
  return (await new Seeker(calls, fd, { remote: true }).next(offset, SEEK_DATA, offset + length)) >= offset + length
}

class Seeker {
  readonly #calls: SeekCalls
  readonly #fd: number
  readonly #politely: boolean
  readonly #remote: boolean
  #sliceStart = performance.now()
  #lastTook = 0
  #now = this.#sliceStart

  constructor(calls: SeekCalls, fd: number, { politely = false, remote = false } = {}) {
    this.#calls = calls
    this.#fd = fd
    this.#politely = politely
    this.#remote = remote
  }

  get isDue(): boolean {
    return this.#now - this.#sliceStart > SLICE_MS
  }

  async rest(): Promise<void> {
    await setImmediate()
    this.#sliceStart = performance.now()
  }

  /** The beginning of the next data or hole from `position` on; `end` behind the last data. */
  async next(position: number, whence: number, end: number): Promise<number> {
    const before = performance.now()
    const inThread = this.#remote || this.#lastTook > SLICE_MS || (this.#politely && whence === SEEK_HOLE)
    const found = await this.#seek(position, whence, inThread)
    this.#now = performance.now()
    this.#lastTook = this.#now - before
    if (found >= 0) return Math.max(found, position)
    return notFound(await this.#seek(0, SEEK_END, inThread), -found, position, whence, end)
  }

  #seek(position: number, whence: number, inThread: boolean): number | Promise<number> {
    if (inThread) return this.#calls.lseekAsync(this.#fd, position, whence)
    return this.#calls.lseek(this.#fd, position, whence)
  }
}

/** The result of a look that found nothing, in a file of `size` bytes. */
function notFound(size: number, errno: number, position: number, whence: number, end: number): number {
  if (errno === ENXIO) {
    // Only a hole follows, unless the file has become shorter.
    if (size >= end) return end
    throw new VmapipeError('FAILED', `the file has shrunk to ${size} bytes while it was read`, { offset: position })
  }
  // If the filesystem cannot tell, all is data.
  if (errno === EINVAL || errno === EOPNOTSUPP) return whence === SEEK_DATA ? position : end
  throw new VmapipeError('FAILED', `looking for holes failed (errno ${errno})`, { offset: position })
}
