/** Reads one file of another host or one object of a bucket in any order, whether or not it is a volume of an archive. */

import type { ArchiveBytes } from './archive-bytes.ts'
import type { RangeOptions } from './place.ts'
import type { FarPlace } from './spec.ts'
import { SshBytes } from './ssh-bytes.ts'

/** Errors: USAGE for a folder, OnlyInOrder for what is no file, FAILED. */
export async function openFarFile(place: FarPlace, options: RangeOptions): Promise<ArchiveBytes> {
  if (place.kind === 'ssh') return SshBytes.open(place, options)
  return (await import('./s3/range-reader.ts')).RangeReader.open(place, options)
}
