/** Reads an archive from a file or device, with several reads in flight. The bytes come in order. */

import { fstat, read } from 'node:fs'
import { promisify } from 'node:util'
import type { Budget, Slab } from '../../core/budget.ts'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { Chunk } from '../../core/items.ts'
import { closeFd } from '../../system/pipe-fd.ts'
import { noteReading } from '../being-read.ts'
import { type ArchiveSource, pieceBytes, type SourceOptions } from './endpoint.ts'
import { lockIfLong } from './reading-lock.ts'

const LARGEST_PIECE = 4 << 20

/** Reads in flight: enough to keep a disk busy while earlier pieces are worked on. */
const IN_FLIGHT = 4

/** Where to read. */
interface OpenFile {
  fd: number
  /** Whether this source closes it. */
  owned: boolean
  /** For messages. */
  name: string
  /** The first byte; null to read from the file's own position. */
  start: number | null
  /** Bytes from `start` to the end, if the file says so. */
  size: number | undefined
}

export class FileSource implements ArchiveSource {
  readonly size: number | undefined
  readonly #file: OpenFile
  readonly #budget: Budget
  #offset = 0
  #ahead: Promise<Chunk | null>[] = []
  #closed = false
  readonly #atEnd: (hook: () => void) => void
  #onClose = () => {}
  #unlock = () => {}

  constructor(file: OpenFile, { budget, atEnd }: Pick<SourceOptions, 'budget' | 'atEnd'>) {
    this.#file = file
    this.#budget = budget
    this.#atEnd =
      atEnd ??
      ((hook) => {
        this.#onClose = hook
      })
    this.size = file.size
  }

  async open(): Promise<void> {
    const { fd, owned, name } = this.#file
    const stats = await promisify(fstat)(fd)
    this.#atEnd(noteReading(stats))
    if (owned && stats.isFile()) this.#unlock = lockIfLong(name)
  }

  async read(): Promise<Chunk | null> {
    const inFlight = this.#file.start === null ? 1 : IN_FLIGHT
    while (this.#ahead.length < inFlight && this.#offset < (this.size ?? Infinity)) this.#readAhead()
    const next = this.#ahead.shift()
    if (next === undefined) return null
    const chunk = await next.catch((error) => {
      throw asVmapipeError(error, { file: this.#file.name })
    })
    // A file of unknown size has nothing behind its end.
    if (chunk === null) this.#offset = Infinity
    return chunk
  }

  /** Waits for the reads in flight: they write into memory that is about to be reused. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#onClose()
    this.#unlock()
    for (const piece of await Promise.allSettled(this.#ahead.splice(0))) {
      if (piece.status === 'fulfilled') piece.value?.release()
    }
    if (this.#file.owned) await closeFd(this.#file.fd)
  }

  #readAhead(): void {
    const offset = this.#offset
    const wanted = Math.min(pieceBytes(this.#budget, LARGEST_PIECE), (this.size ?? Infinity) - offset)
    this.#offset += wanted
    const piece = this.#readPiece(offset, wanted)
    // It may fail while an earlier one is still awaited.
    piece.catch(() => {})
    this.#ahead.push(piece)
  }

  async #readPiece(offset: number, wanted: number): Promise<Chunk | null> {
    const slab = await this.#budget.take(pieceBytes(this.#budget, LARGEST_PIECE))
    try {
      const bytes = await this.#readFully(slab.buffer.subarray(0, wanted), offset)
      if (bytes < wanted && this.size !== undefined) {
        throw new VmapipeError('FAILED', 'the file became shorter while it was read', { offset: offset + bytes })
      }
      return this.#chunk(slab, bytes)
    } catch (error) {
      slab.release()
      throw error
    }
  }

  #chunk(slab: Slab, bytes: number): Chunk | null {
    if (bytes > 0) return new Chunk([slab.buffer.subarray(0, bytes)], [slab])
    slab.release()
    return null
  }

  /** Reads fewer bytes than asked for only at the end of the file. */
  async #readFully(buffer: Buffer, offset: number): Promise<number> {
    const { fd, start } = this.#file
    let filled = 0
    while (filled < buffer.byteLength && !this.#closed) {
      const position = start === null ? null : start + offset + filled
      const bytes = await readSome(fd, buffer.subarray(filled), position)
      if (bytes === 0) break
      filled += bytes
    }
    return filled
  }
}

function readSome(fd: number, buffer: Buffer, position: number | null): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, buffer, 0, buffer.byteLength, position, (error, bytes) => (error ? reject(error) : resolve(bytes)))
  })
}
