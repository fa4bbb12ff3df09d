/** Reads an archive on another host or in a bucket, which may be in several volumes, in order or in any order. */

import type { ArchiveBytes } from '../archive-bytes.ts'
import { ChosenSource } from '../chosen-source.ts'
import type { ArchiveSource, SourceOptions } from '../endpoint.ts'
import { openFarFile } from '../far-file.ts'
import type { RangeOptions } from '../place.ts'
import { RangesSource } from '../ranges-source.ts'
import type { FarPlace } from '../spec.ts'
import { sshSource } from '../ssh-source.ts'
import { farVolumeBytes } from './far-bytes.ts'
import { type FarVolume, findFarVolumes } from './far-set.ts'

/** Opens it to read in any order. Errors: USAGE, INCOMPLETE, DAMAGED, OnlyInOrder for what is no file on a host, FAILED. */
export async function openFarBytes(place: FarPlace, options: RangeOptions): Promise<ArchiveBytes> {
  const volumes = await findFarVolumes(place, options)
  const bytes = volumes === null ? await openFarFile(place, options) : farVolumeBytes(volumes, options)
  return place.kind === 'ssh' ? bytes : new (await import('../s3/s3-bytes.ts')).S3Bytes(bytes)
}

/** Reads it from its beginning to its end. */
export function farSource(place: FarPlace, options: SourceOptions): ArchiveSource {
  return new ChosenSource(async () => {
    const volumes = await findFarVolumes(place, options)
    if (volumes !== null) return farVolumeSource(volumes, options)
    return place.kind === 'ssh'
      ? sshSource(place, options)
      : new RangesSource(() => openFarFile(place, options), options)
  })
}

/**
 * Reads volumes one after the other. Also over ssh these are ranges and not the output of one command for each volume: so a volume is known
 * to be the right one before its first byte is passed on, and no time is lost between two of them.
 */
export function farVolumeSource(volumes: readonly FarVolume[], options: SourceOptions): ArchiveSource {
  return new RangesSource(async () => farVolumeBytes(volumes, options), options)
}
