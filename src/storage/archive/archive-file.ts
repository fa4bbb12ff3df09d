/**
 * Reads the file or block device of an archive. Bytes in the page cache are read at once in the calling thread, all others in libuv's
 * thread pool.
 */

import { constants, read, type Stats } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import type { Counters } from '../../core/counters.ts'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { EAGAIN, syscalls } from '../../system/syscalls.ts'
import { TransferError, transferRest } from '../disks/transfer.ts'
import { checkBounds } from '../drive.ts'
import { noteReading } from '../in-use.ts'
import { openRaw, sizeOf } from '../raw-file.ts'
import type { ArchiveBytes } from './archive-bytes.ts'

/** The most bytes that are read in the calling thread (128 KiB): copying more takes longer than the switch to another thread. */
const MOST_CACHED = 128 * 1024

export class ArchiveFile implements ArchiveBytes {
  readonly size: number
  readonly #path: string
  readonly #file: FileHandle
  readonly #release: () => void
  readonly #counters: Counters | undefined
  /** Null if reads from the page cache alone are not supported. */
  #cache = syscalls()
  #busy = 0
  #idle: () => void = () => {}
  #closed: Promise<void> | null = null

  private constructor(path: string, file: FileHandle, size: number, stats: Stats, counters: Counters | undefined) {
    this.#path = path
    this.#counters = counters
    this.#file = file
    this.size = size
    this.#release = noteReading(stats)
  }

  /** Opens an archive's file. `counters` count the bytes read. Throws USAGE, FAILED. */
  static async open(path: string, counters?: Counters): Promise<ArchiveFile> {
    const { file, stats } = await openRaw(path, constants.O_RDONLY)
    try {
      return new ArchiveFile(path, file, sizeOf(path, file, stats), stats, counters)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  async read(buffer: Uint8Array, offset: number): Promise<void> {
    if (this.#closed) throw new VmapipeError('FAILED', 'the archive is closed', { file: this.#path })
    checkBounds(this.size, offset, buffer.byteLength)
    this.#counters?.add('read', buffer.byteLength)
    const cached = this.#readCached(buffer, offset)
    if (cached === buffer.byteLength) return
    this.#busy++
    try {
      await transferRest(read, this.#file.fd, buffer, cached, offset)
    } catch (error) {
      const { position, cause } = error as TransferError
      throw error instanceof TransferError ? asVmapipeError(cause, { file: this.#path, offset: position }) : error
    } finally {
      if (--this.#busy === 0) this.#idle()
    }
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    if (this.#busy > 0)
      await new Promise<void>((resolve) => {
        this.#idle = resolve
      })
    this.#release()
    await this.#file.close()
  }

  /** Reads from the page cache and returns the number of bytes. */
  #readCached(buffer: Uint8Array, offset: number): number {
    if (this.#cache === null || buffer.byteLength > MOST_CACHED || buffer.byteLength === 0) return 0
    const count = this.#cache.readCached(this.#file.fd, buffer, offset)
    if (count >= 0) return count
    if (count !== -EAGAIN) this.#cache = null
    return 0
  }
}
