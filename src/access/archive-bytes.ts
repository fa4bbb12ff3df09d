/** The uncompressed stream of an archive, at any offset. */

import { openRawReader, type RawReader } from '../storage/raw-reader.ts'

export interface ArchiveBytes {
  readonly size: number
  /** Fills `buffer` with the bytes from `offset`, which are there. */
  read(buffer: Uint8Array, offset: number): Promise<void>
  /** Waits for reads in flight, or lets them fail. May be called more than once. */
  close(): Promise<void>
}

/** An archive that is not compressed: a file or a block device. */
export function openPlainBytes(path: string): Promise<RawReader> {
  return openRawReader(path)
}
