/**
 * Where an archive comes from: one interface for files, devices, pipes, a remote machine and commands. It is read once,
 * in order, into memory that the budget lends.
 */

import { Readable } from 'node:stream'
import type { Budget } from '../../core/budget.ts'
import type { Chunk } from '../../core/items.ts'
import { readStream } from '../../system/pipe-fd.ts'
import { execSource } from './exec.ts'
import { openPath, openStdin } from './open-source.ts'
import { PipeSource } from './pipe-source.ts'
import { parsePlace } from './spec.ts'
import { sshSource } from './ssh-source.ts'

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

/** The source that `from` means (see spec.ts), or a Node stream of the caller's. Throws USAGE for what has no meaning. */
export function archiveSource(from: string | Readable, options: SourceOptions): ArchiveSource {
  if (from instanceof Readable) return new PipeSource(async (feed) => readStream(from, feed), 'the stream', options)
  const place = parsePlace(from)
  switch (place.kind) {
    case 'stdio':
      return new Chosen(() => openStdin(options))
    case 'exec':
      return execSource(place.command, options)
    case 'ssh':
      return sshSource(place, options)
    default:
      return new Chosen(() => openPath(place.path, options))
  }
}

/** A source that is chosen by what is found when it is opened. */
class Chosen implements ArchiveSource {
  readonly #choose: () => Promise<ArchiveSource>
  #source: ArchiveSource | null = null

  constructor(choose: () => Promise<ArchiveSource>) {
    this.#choose = choose
  }

  get size(): number | undefined {
    return this.#source?.size
  }

  async open(): Promise<void> {
    this.#source = await this.#choose()
    await this.#source.open()
  }

  read(): Promise<Chunk | null> {
    return this.#source!.read()
  }

  async close(): Promise<void> {
    await this.#source?.close()
  }
}
