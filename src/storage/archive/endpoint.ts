/** What every place has in common that an archive comes from or goes to: files, devices, pipes, a remote machine, commands. */

import type { Budget } from '../../core/budget.ts'
import type { Chunk } from '../../core/items.ts'

/** Where an archive comes from. It is read once, in order, into memory that the budget lends. */
export interface ArchiveSource {
  open(): Promise<void>
  /** Bytes from here to the end, where that is known; valid after open. */
  readonly size: number | undefined
  /** The next bytes, or null when all were given and the other side said that they were all. The caller releases them. */
  read(): Promise<Chunk | null>
  /** Releases everything. May be called at any time, and again. */
  close(): Promise<void>
}

export interface SourceOptions {
  /** Lends the memory for what is read. */
  budget: Budget
  /** Ends a read that waits for somebody else. */
  signal?: AbortSignal
  /** One line for the user that is not an error. */
  warn?: (message: string) => void
  /** Takes what is to be called when nothing more is written either: until then the archive must not be replaced. */
  atEnd?: (hook: () => void) => void
}

/**
 * Where an archive goes. Bytes come in order, one write at a time. Nobody takes them for an archive until `finish` has succeeded.
 */
export interface ArchiveTarget {
  /** Refuses what must not or cannot be written, before there is anything to write. */
  open(): Promise<void>
  /** Writes the buffers one after the other; they may be reused once it resolves. */
  write(buffers: readonly Uint8Array[]): Promise<void>
  /** All was written: makes it durable as far as that can be without publishing it. `finish` does so too. */
  settle?(): Promise<void>
  /** All was written: makes it durable, and publishes it under its name. */
  finish(): Promise<void>
  /** Releases everything, and what is not finished never appears under its name. May be called at any time, and again. */
  abort(): Promise<void>
}

export interface TargetOptions {
  /** Replaces what is there already, once the new archive is complete. */
  force?: boolean
  /** Ends a write that waits for somebody else. */
  signal?: AbortSignal
  /** One line for the user that is not an error. */
  warn?: (message: string) => void
}

const SMALLEST_PIECE = 65536

/**
 * How much to read at once: a sixteenth of what the budget can lend, so that a stage that waits for the rest of something has
 * room for several pieces, and `largest` at most.
 */
export function pieceBytes(budget: Budget, largest: number): number {
  const share = 2 ** Math.floor(Math.log2(Math.max(1, budget.capacity / 16)))
  return Math.max(SMALLEST_PIECE, Math.min(largest, share))
}
