/** A read-only disk of a drive reader, such as a drive of an archive. */

import type { Disk, Done } from '../disk.ts'
import type { DriveExtent, DriveReader } from '../drive.ts'

export class ReaderDisk implements Disk {
  readonly readOnly = true
  readonly #reader: DriveReader

  constructor(reader: DriveReader) {
    this.#reader = reader
  }

  get size(): number {
    return this.#reader.size
  }

  read(buffer: Uint8Array, offset: number): Done {
    return this.#reader.read(buffer, offset)
  }

  write(): Done {
    throw refused()
  }

  zero(): Done {
    throw refused()
  }

  trim(): Done {
    throw refused()
  }

  flush(): Done {
    return undefined
  }

  map(offset: number, length: number): AsyncIterable<DriveExtent> {
    return this.#reader.map(offset, length)
  }

  close(): Promise<void> {
    return this.#reader.close()
  }
}

function refused(): Error {
  return Object.assign(new Error('the disk is read-only'), { code: 'EPERM' })
}
