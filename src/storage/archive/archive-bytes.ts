/** Defines how the uncompressed stream of an archive is read at any offset. */

export interface ArchiveBytes {
  readonly size: number
  /** Fills `buffer` with the bytes from `offset`. They must be within the stream. */
  read(buffer: Uint8Array, offset: number): Promise<void>
  /** Loads these ranges in advance, in this order. Missing if that brings nothing. */
  ahead?(ranges: readonly StreamRange[]): void
  /** Closes it. Reads in flight are waited for, or they fail. It may be called more than once. */
  close(): Promise<void>
}

export interface StreamRange {
  offset: number
  length: number
}
