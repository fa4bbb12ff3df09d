/** Reads an archive in any order: one file, or several volumes as if they were one. */

import type { ArchiveBytes } from '../archive-bytes.ts'
import { ArchiveFile } from '../archive-file.ts'
import type { RangeOptions } from '../place.ts'
import { parsePlace } from '../spec.ts'
import { openFarBytes } from './far-archive.ts'
import { VolumeLayout } from './volume-layout.ts'
import { findVolumes } from './volume-set.ts'

/** Opens the archive at `path`, which may be the first of several volumes, s3://bucket/key or ssh://host/path. */
export async function openArchiveBytes(path: string, options: RangeOptions = {}): Promise<ArchiveBytes> {
  const place = parsePlace(path)
  if (place.kind === 'ssh' || place.kind === 's3') return openFarBytes(place, options)
  const { counters } = options
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
  readonly #files: readonly ArchiveFile[]
  readonly #layout: VolumeLayout

  constructor(files: readonly ArchiveFile[]) {
    this.#files = files
    this.#layout = new VolumeLayout(files.map(({ size }) => size))
  }

  get size(): number {
    return this.#layout.size
  }

  read(buffer: Uint8Array, offset: number): Promise<void> {
    return this.#layout.read(buffer, offset, (index, part, within) => this.#files[index].read(part, within))
  }

  async close(): Promise<void> {
    await Promise.all(this.#files.map((file) => file.close()))
  }
}
