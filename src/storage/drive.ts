/**
 * A drive to read and a drive to write: one interface for raw files, block devices, NBD exports and image formats. One contract suite
 * (test/storage/contract.ts) runs against every implementation. Offsets and lengths are bytes of any alignment. Several calls may be
 * in flight at once.
 */

import { VmapipeError } from '../core/errors.ts'

/** A range of a drive. `zero`: it is known to read as zeroes. */
export interface DriveExtent {
  offset: number
  length: number
  zero: boolean
}

/** A drive that is read. Offsets and lengths are in bytes, of any alignment; several calls may be in flight at once. */
export interface DriveReader {
  readonly size: number
  /**
   * Gives adjacent extents in order that cover the range exactly. Storage that cannot tell what it has gives one extent of data.
   * Neighbours may be of the same kind.
   */
  map(offset: number, length: number): AsyncIterable<DriveExtent>
  /** Fills `buffer` with the bytes from `offset`. If there are fewer, it fails: there are no short reads. */
  read(buffer: Uint8Array, offset: number): Promise<void>
  /** Releases everything. Calls in flight fail, or are waited for. May be called more than once. */
  close(): Promise<void>
}

/** A drive that is written. Offsets and lengths are in bytes, of any alignment; several calls may be in flight at once. */
export interface DriveWriter {
  readonly size: number
  /** The drive reads as zeroes where nothing was written. Then `zero` need not be called. */
  readonly isZero: boolean
  /** Writes the buffers one after the other from `offset`. They may be used again when the promise resolves. */
  write(buffers: readonly Uint8Array[], offset: number): Promise<void>
  /** Makes the range read as zeroes, without allocating it if possible. */
  zero(offset: number, length: number): Promise<void>
  /** Makes all that was written durable. A new file keeps its temporary name. */
  flush(): Promise<void>
  /**
   * Gives a new file its final name, with `suffix` behind it. To be called after `flush`. Resolves to the path, or to null if the
   * target existed before.
   */
  publish(suffix?: string): Promise<string | null>
  /** Releases everything, and removes what was not published. May be called more than once. */
  close(): Promise<void>
}

/** Throws STAGE if a range is not within a drive of `size` bytes, which is a mistake of the caller, not of the data. */
export function checkBounds(size: number, offset: number, length: number): void {
  const sane = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0
  if (!sane || offset + length > size) {
    throw new VmapipeError('STAGE', `${length} bytes are past the end of a drive of ${size} bytes`, { offset })
  }
}
