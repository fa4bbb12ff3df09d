/** Finds the newest archive of a guest in a folder, here or on another host, or in a bucket, by the records of the archives there. Their names do not matter. */

import type { Keyring } from '../../codecs/age/keyring.ts'
import { asVmapipeError, printable, VmapipeError } from '../../core/errors.ts'
import { type ArchiveFolder, openArchiveFolder } from '../../storage/archive/archive-folder.ts'
import { mayBeginArchive } from '../../storage/archive/names.ts'
import type { PlaceEntry } from '../../storage/archive/place.ts'
import { quickManifest } from '../quick-manifest.ts'

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
  const place = await folderIfThere(folder)
  let newest = null as { place: string; ctime: number; written: number } | null
  let [looked, unreadable] = [0, 0]
  for (const { name, modified } of place === null ? [] : await archivesIn(place, signal)) {
    signal?.throwIfAborted()
    const from = place!.at(name)
    try {
      looked++
      const { record, ctime } = await quickManifest({
        from,
        signal: signal ?? new AbortController().signal,
        ...(keys && { keys }),
      })
      if (record?.guest !== guest || ctime < (newest?.ctime ?? 0)) continue
      // Of two archives of one second, that which was written later.
      const written = Date.parse(modified ?? '')
      if (newest === null || ctime > newest.ctime || written > newest.written) newest = { place: from, ctime, written }
    } catch {
      // An archive that is damaged, or encrypted for others, may be that of another guest.
      unreadable++
    }
  }
  return { place: newest?.place ?? null, looked, unreadable }
}

/** The archives in the folder, the last name first, so that of two of one time always the same one is taken. None if there is no folder. */
async function archivesIn(folder: ArchiveFolder, signal: AbortSignal | undefined): Promise<PlaceEntry[]> {
  const found: PlaceEntry[] = []
  let entries = 0
  try {
    for await (const entry of folder.list(signal && { signal })) {
      if (++entries > MOST_ENTRIES)
        throw new VmapipeError('FAILED', `'${printable(folder.spec)}' has more than ${MOST_ENTRIES} entries`, {
          hint: 'name the parent: --since ARCHIVE',
        })
      if (mayBeginArchive(entry.name)) found.push(entry)
    }
  } catch (error) {
    throw asVmapipeError(error, { file: folder.spec })
  }
  return found.sort((a, b) => (a.name < b.name ? 1 : -1))
}

async function folderIfThere(spec: string): Promise<ArchiveFolder | null> {
  return openArchiveFolder(spec).catch((error) => {
    if ((asVmapipeError(error).cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return null
    throw error
  })
}
