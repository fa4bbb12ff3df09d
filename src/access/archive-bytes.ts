/** The uncompressed stream of an archive, at any offset. */

export interface ArchiveBytes {
  readonly size: number
  /** Fills `buffer` with the bytes from `offset`, which are there. */
  read(buffer: Uint8Array, offset: number): Promise<void>
  /** These ranges are wanted soon, in this order; there where something can be done about it. */
  ahead?(ranges: readonly StreamRange[]): void
  /** Waits for reads in flight, or lets them fail. May be called more than once. */
  close(): Promise<void>
}

export interface StreamRange {
  offset: number
  length: number
}
