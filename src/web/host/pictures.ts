/** The picture of a boot check: the file beside the archive that only a check of ours can have made. */

import { basename } from 'node:path'
import type { CatalogEntry, Check } from '../../catalog/entry.ts'
import { besideArchive } from '../../storage/archive/names.ts'
import { openPlace } from '../../storage/archive/open-place.ts'

/** A screen of 4K as PNG has less. */
const MOST_BYTES = 16 << 20
const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])

/** Where the picture is; null if there is none. What the check names may have been written by anybody, so only our own name counts. */
export function picturePlace({ place }: Pick<CatalogEntry, 'place'>, { kind, file }: Check): string | null {
  const own = besideArchive(place, 'boot.png')
  return kind === 'boot' && file !== undefined && file === decoded(basename(own)) ? own : null
}

/** At a place on another host names are escaped. */
function decoded(name: string): string {
  try {
    return decodeURIComponent(name)
  } catch {
    return name
  }
}

/** The picture; null if it is not there, too large, or no PNG. */
export async function readPicture(place: string): Promise<Buffer | null> {
  const { ranges, stat } = openPlace(place)
  if (ranges === undefined || stat === undefined || (await stat()) === null) return null
  const bytes = await ranges({})
  try {
    if (bytes.size < PNG.length || bytes.size > MOST_BYTES) return null
    const content = Buffer.alloc(bytes.size)
    await bytes.read(content, 0)
    return content.subarray(0, PNG.length).equals(PNG) ? content : null
  } finally {
    await bytes.close()
  }
}
