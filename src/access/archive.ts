/** Defines an open archive, whose drives can be read in any order. */

import { VmapipeError } from '../core/errors.ts'
import { clusterCount } from '../core/geometry.ts'
import type { DriveInfo, Manifest } from '../core/items.ts'
import { driveNamed } from '../formats/vma/names.ts'
import { ArchiveDrive } from './archive-drive.ts'
import type { ImageReader } from './image-reader.ts'
import type { OpenFile } from './open-file.ts'

/** An archive whose drives are read in any order. See openArchive. */
export interface Archive {
  readonly manifest: Manifest
  /**
   * Opens the drive of this name. It may have one sequential reader or many random ones. Each call gives another object. Throws
   * USAGE if there is no such drive.
   */
  drive(name: string): ImageReader
  /** Closes the archive. Reads in flight are waited for, or they fail. It may be called more than once. */
  close(): Promise<void>
}

export class OpenArchive implements Archive {
  readonly manifest: Manifest
  readonly #open: (info: DriveInfo) => ImageReader
  readonly #release: () => Promise<void>
  #closed: Promise<void> | null = null

  constructor(manifest: Manifest, open: (info: DriveInfo) => ImageReader, release: () => Promise<void>) {
    this.manifest = manifest
    this.#open = open
    this.#release = release
  }

  drive(name: string): ImageReader {
    return this.#open(known(this.manifest, name))
  }

  close(): Promise<void> {
    this.#closed ??= this.#release()
    return this.#closed
  }
}

/** One file as an archive. */
export function archiveOf({ manifest, parts, close }: OpenFile): Archive {
  const layer = { parts, base: 0 }
  const open = (info: DriveInfo) =>
    new ArchiveDrive(info, [{ ...layer, id: info.id, clusters: clusterCount(info.size) }])
  return new OpenArchive(manifest, open, close)
}

function known({ drives }: Manifest, name: string): DriveInfo {
  const found = driveNamed(drives, name)
  if (found !== undefined) return found
  const names = drives.map((drive) => drive.name).join(', ')
  throw new VmapipeError('USAGE', `the archive has no drive '${name}'`, { hint: `it has ${names || 'none'}` })
}
