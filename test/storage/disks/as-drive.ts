/** A disk as a reader and as a writer of drives, so that it has to keep to their contracts. */

import type { Disk } from '../../../src/storage/disk.ts'
import type { DriveReader, DriveWriter } from '../../../src/storage/drive.ts'

export function asReader(disk: Disk): DriveReader {
  return {
    size: disk.size,
    map: (offset, length) => disk.map(offset, length),
    read: async (buffer, offset) => disk.read(buffer, offset),
    close: () => disk.close(),
  }
}

export function asWriter(disk: Disk): DriveWriter {
  return {
    size: disk.size,
    isZero: false,
    write: async (buffers, offset) => disk.write(buffers, offset),
    zero: async (offset, length) => disk.zero(offset, length),
    flush: async () => disk.flush(),
    publish: async () => null,
    close: () => disk.close(),
  }
}
