/** Reads the file or block device of an archive, as a disk that nobody writes to. */

import { constants } from 'node:fs'
import type { Counters } from '../../core/counters.ts'
import { VmapipeError } from '../../core/errors.ts'
import { noteReading } from '../being-read.ts'
import { RawDisk } from '../disks/raw-disk.ts'
import { openRaw, sizeOf } from '../raw-file.ts'
import type { ArchiveBytes } from './archive-bytes.ts'
import { lockIfLong } from './reading-lock.ts'

export class ArchiveFile implements ArchiveBytes {
  readonly size: number
  readonly #path: string
  readonly #disk: RawDisk
  readonly #counters: Counters | undefined
  #closed = false

  private constructor(path: string, disk: RawDisk, counters: Counters | undefined) {
    this.#path = path
    this.#disk = disk
    this.#counters = counters
    this.size = disk.size
  }

  /** Opens an archive's file. `counters` count the bytes read. Throws USAGE, FAILED. */
  static async open(path: string, counters?: Counters): Promise<ArchiveFile> {
    const { file, stats } = await openRaw(path, constants.O_RDONLY)
    try {
      const size = sizeOf(path, file, stats)
      const release = noteReading(stats)
      const unlock = stats.isFile() ? lockIfLong(path) : () => {}
      const close = async () => {
        release()
        unlock()
        await file.close()
      }
      const disk = new RawDisk({ path, file, size, isDevice: !stats.isFile(), readOnly: true, atRest: true, close })
      return new ArchiveFile(path, disk, counters)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  async read(buffer: Uint8Array, offset: number): Promise<void> {
    if (this.#closed) throw new VmapipeError('FAILED', 'the archive is closed', { file: this.#path })
    this.#counters?.add('read', buffer.byteLength)
    // Most reads are done at once: an await costs a turn of the microtask queue.
    const reading = this.#disk.read(buffer, offset)
    if (reading !== undefined) await reading
  }

  close(): Promise<void> {
    this.#closed = true
    return this.#disk.close()
  }
}
