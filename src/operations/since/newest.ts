/** Finds the newest archive of a guest in a folder or bucket, by the records of the archives there. Their names do not matter. */

import { opendir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Keyring } from '../../codecs/age/keyring.ts'
import { asVmapipeError, printable, VmapipeError } from '../../core/errors.ts'
import { openPlace } from '../../storage/archive/open-place.ts'
import { isS3 } from '../../storage/archive/s3/s3-url.ts'
import { parseVolumeName } from '../../storage/archive/volumes/names.ts'
import { quickManifest } from '../quick-manifest.ts'

/** Names of archives of ours, also compressed, encrypted or in volumes. */
const LIKELY = /\.vm[ai](\.|$)/
/** The most entries of a folder that are looked at. */
const MOST_ENTRIES = 100_000

interface Options {
  keys?: Keyring | undefined
  signal?: AbortSignal | undefined
}

export interface Newest {
  /** The place of the archive; null if there is none of this guest. */
  place: string | null
  /** The number of archives that were looked at. */
  looked: number
  /** The number of archives whose header cannot be read. */
  unreadable: number
}

/** Looks at the headers of all archives in the folder. Errors: FAILED if the folder cannot be read. */
export async function newestOf(guest: string, folder: string, { keys, signal }: Options): Promise<Newest> {
  let newest = null as { place: string; ctime: number; written: number } | null
  let [looked, unreadable] = [0, 0]
  for (const name of await archivesIn(folder)) {
    signal?.throwIfAborted()
    const place = isS3(folder) ? folder + name : join(folder, name)
    try {
      looked++
      const { record, ctime } = await quickManifest({
        from: place,
        signal: signal ?? new AbortController().signal,
        ...(keys && { keys }),
      })
      if (record?.guest !== guest || ctime < (newest?.ctime ?? 0)) continue
      // Of two archives of one second, that which was written later.
      const written = await writtenAt(place)
      if (newest === null || ctime > newest.ctime || written > newest.written) newest = { place, ctime, written }
    } catch {
      // An archive that is damaged, or encrypted for others, may be that of another guest.
      unreadable++
    }
  }
  return { place: newest?.place ?? null, looked, unreadable }
}

async function writtenAt(place: string): Promise<number> {
  if (!isS3(place)) return (await stat(place)).mtimeMs
  return Date.parse((await openPlace(place).stat!())?.modified ?? '')
}

/** The entries of a folder, or of a bucket with the beginning of names. */
function entriesOf(folder: string): AsyncIterable<{ name: string }> | Promise<AsyncIterable<{ name: string }>> {
  return isS3(folder) ? openPlace(`${folder}any`).list!() : opendir(folder)
}

/** The names of archives in the folder, in order, so that of two of one time always the same one is taken. */
async function archivesIn(folder: string): Promise<string[]> {
  const names: string[] = []
  let entries = 0
  try {
    for await (const { name } of await entriesOf(folder)) {
      if (++entries > MOST_ENTRIES)
        throw new VmapipeError('FAILED', `'${printable(folder)}' has more than ${MOST_ENTRIES} entries`, {
          hint: 'name the parent: --since ARCHIVE',
        })
      const isLater = (parseVolumeName(name)?.number ?? 0) > 0
      if (LIKELY.test(name) && !name.startsWith('.') && !/\.(idx|hashes)$/.test(name) && !isLater) names.push(name)
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw asVmapipeError(error, { file: folder })
  }
  return names.sort().reverse()
}
