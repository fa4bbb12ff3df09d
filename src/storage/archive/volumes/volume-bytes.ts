/** Reads an archive in any order: one file, or several volumes as if they were one. */

import type { Counters } from '../../../core/counters.ts'
import type { ArchiveBytes } from '../archive-bytes.ts'
import { ArchiveFile } from '../archive-file.ts'
import { isS3, parseS3 } from '../s3/s3-url.ts'
import { parsePlace } from '../spec.ts'
import { SshBytes } from '../ssh-bytes.ts'
import { findVolumes } from './volume-set.ts'

interface OpenOptions {
  counters?: Counters
  /** Aborts reads that wait for a store. */
  signal?: AbortSignal
  /** One line for the user that is not an error. */
  warn?: (message: string) => void
}

/** Opens the archive at `path`, which may be the first of several volumes, s3://bucket/key or ssh://host/path. `counters` count the bytes read. */
export async function openArchiveBytes(
  path: string,
  { counters, ...options }: OpenOptions = {},
): Promise<ArchiveBytes> {
  if (isS3(path)) return (await import('../s3/s3-bytes.ts')).S3Bytes.open(parseS3(path), { counters, ...options })
  const place = parsePlace(path)
  if (place.kind === 'ssh') return SshBytes.open(place, { counters, ...options })
  const volumes = await findVolumes(path)
  if (volumes === null) return ArchiveFile.open(path, counters)
  const files: ArchiveFile[] = []
  try {
    for (const volume of volumes) files.push(await ArchiveFile.open(volume.path, counters))
  } catch (error) {
    for (const file of files) await file.close()
    throw error
  }
  return new VolumeBytes(files)
}

class VolumeBytes implements ArchiveBytes {
  readonly size: number
  readonly #files: readonly ArchiveFile[]
  /** Where each volume begins. */
  readonly #starts: number[] = []

  constructor(files: readonly ArchiveFile[]) {
    this.#files = files
    let size = 0
    for (const file of files) {
      this.#starts.push(size)
      size += file.size
    }
    this.size = size
  }

  async read(buffer: Uint8Array, offset: number): Promise<void> {
    const parts: Promise<void>[] = []
    for (let at = 0; at < buffer.byteLength; ) {
      const index = this.#volumeAt(offset + at)
      const within = offset + at - this.#starts[index]
      const length = Math.min(buffer.byteLength - at, this.#files[index].size - within)
      parts.push(this.#files[index].read(buffer.subarray(at, at + length), within))
      at += length
    }
    await Promise.all(parts)
  }

  async close(): Promise<void> {
    await Promise.all(this.#files.map((file) => file.close()))
  }

  /** The volume with this byte: the last one that begins at it or before. Empty volumes have none. */
  #volumeAt(offset: number): number {
    let low = 0
    let high = this.#starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (this.#starts[middle] <= offset) low = middle
      else high = middle - 1
    }
    return low
  }
}
