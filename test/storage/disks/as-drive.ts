/** A disk as a reader and as a writer of drives, so that it has to keep to their contracts. */

import type { Disk } from '../../../src/storage/disk.ts'
import { DiskWriter } from '../../../src/storage/disk-writer.ts'
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
  return new DiskWriter(disk, { size: disk.size, isZero: false })
}
