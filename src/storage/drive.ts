/**
 * A drive to read and a drive to write: one interface for raw files, block devices, NBD exports and image formats.
 * One contract suite (test/storage/contract.ts) runs against every implementation. Offsets and lengths are bytes,
 * of any alignment; several calls may be in flight at once.
 */

import { VmapipeError } from '../core/errors.ts'

/** A stretch of a drive: known to read as zeroes, or to be read. */
export interface DriveExtent {
  offset: number
  length: number
  zero: boolean
}

export interface DriveReader {
  readonly size: number
  /**
   * What `offset`..`offset + length` consists of: adjacent extents in order that cover it exactly, neighbours of
   * different kind where the storage says so. Storage that cannot tell gives one extent of data.
   */
  map(offset: number, length: number): AsyncIterable<DriveExtent>
  /** Fills `buffer` with the bytes from `offset`. Less than that is an error, never a short read. */
  read(buffer: Uint8Array, offset: number): Promise<void>
  /** Releases everything; calls in flight fail, or finish first. May be called more than once. */
  close(): Promise<void>
}

export interface DriveWriter {
  readonly size: number
  /** Reads as zeroes wherever nothing was written: then `zero` need not be called. */
  readonly isZero: boolean
  /** Writes the buffers one after the other from `offset`; they may be reused once it resolves. */
  write(buffers: readonly Uint8Array[], offset: number): Promise<void>
  /** Makes the range read as zeroes, without allocating it where that is possible. */
  zero(offset: number, length: number): Promise<void>
  /** Makes everything written durable. What was made under a temporary name is still there. */
  flush(): Promise<void>
  /**
   * After flush: gives what was made its final name, with `suffix` behind it. Resolves to the path, or to null where the target
   * existed before and nothing is to do.
   */
  publish(suffix?: string): Promise<string | null>
  /** Releases everything, and removes what was not published. May be called more than once. */
  close(): Promise<void>
}

/** Refuses a range that does not lie within a drive of `size` bytes: a mistake of our own, not of the data. */
export function checkBounds(size: number, offset: number, length: number): void {
  const sane = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0
  if (!sane || offset + length > size) {
    throw new VmapipeError('STAGE', `${length} bytes are past the end of a drive of ${size} bytes`, { offset })
  }
}
