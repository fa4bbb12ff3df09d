/** What every place has in common that an archive comes from or goes to: files, devices, pipes, a remote machine, commands. */

import type { Budget } from '../../core/budget.ts'
import type { Chunk } from '../../core/items.ts'
import type { ObjectOptions } from './s3/object-options.ts'

/** Where an archive comes from. It is read once, in order, into memory that the budget lends. */
export interface ArchiveSource {
  open(): Promise<void>
  /** Bytes from here to the end, if that is known. Valid after open. */
  readonly size: number | undefined
  /** The next bytes. The caller releases them. Null at the end, if the other side has confirmed that these were all bytes. */
  read(): Promise<Chunk | null>
  /** Releases everything. May be called at any time, and again. */
  close(): Promise<void>
}

export interface SourceOptions {
  /** Lends the memory for what is read. */
  budget: Budget
  /** Ends a read that waits for another program. */
  signal?: AbortSignal
  /** One line for the user that is not an error. */
  warn?: (message: string) => void
  /** Registers a hook that is called when the run has ended. Until then the archive must not be replaced. */
  atEnd?: (hook: () => void) => void
}

/**
 * Where an archive goes. Bytes come in order. Nobody takes them for an archive until `finish` has succeeded.
 */
export interface ArchiveTarget {
  /** The most writes that may be under way at once, valid after open; 1 if it does not say. `settle` and `finish` come after all of them. */
  readonly depth?: number
  /** Throws for a target that must not or cannot be written. Called before anything is written. */
  open(): Promise<void>
  /** Writes the buffers one after the other. They may be reused when it resolves. */
  write(buffers: readonly Uint8Array[]): Promise<void>
  /** Makes the archive durable as far as that is possible without publishing it. `finish` does so too. */
  settle?(): Promise<void>
  /** Makes the archive durable, and publishes it under its final name. */
  finish(): Promise<void>
  /** Releases everything. An archive that is not finished never appears under its final name. May be called at any time, and again. */
  abort(): Promise<void>
}

export interface TargetOptions {
  /** Lends the memory of a target that holds bytes back until they are safe. Without it, the target has a little of its own. */
  budget?: Budget
  /** The most bytes that may come, as far as that is known when the target is opened; 0 if it is not known. */
  expected?: () => number
  /** What an object in a store gets besides its bytes. */
  object?: ObjectOptions
  /** Replaces an archive that exists, when the new one is complete. */
  force?: boolean
  /** The same for a small file of ours beside an archive: several runs may write it at once, and the last one wins. */
  lastWins?: boolean
  /** Ends a write that waits for another program. */
  signal?: AbortSignal
  /** One line for the user that is not an error. */
  warn?: (message: string) => void
}

/** Writes at once to a file, at offsets that are known: while one ends, the storage has the next. */
export const FILE_DEPTH = 2

const SMALLEST_PIECE = 65536

/**
 * The number of bytes to read at once: a sixteenth of the budget, and at most `largest`. A stage that waits for the rest of
 * something then has room for several pieces.
 */
export function pieceBytes(budget: Budget, largest: number): number {
  const share = 2 ** Math.floor(Math.log2(Math.max(1, budget.capacity / 16)))
  return Math.max(SMALLEST_PIECE, Math.min(largest, share))
}
