/** Reads and writes the small files beside an archive, at every kind of place. */

import { VmapipeError } from '../core/errors.ts'
import { openPlace } from '../storage/archive/open-place.ts'

/** Bytes of the largest file beside an archive that is read: notes of people, and results of checks. */
const MOST_BYTES = 256 << 10

/** The content of the file, which is there. Throws FAILED if it is too large. */
export async function readSmall(place: string, signal?: AbortSignal): Promise<Buffer> {
  const { ranges } = openPlace(place)
  if (ranges === undefined) throw noFilesBeside(place)
  const bytes = await ranges(signal ? { signal } : {})
  try {
    if (bytes.size > MOST_BYTES)
      throw new VmapipeError('FAILED', `'${place}' has ${bytes.size} bytes: it is not what its name says`)
    const content = Buffer.alloc(bytes.size)
    if (content.length > 0) await bytes.read(content, 0)
    return content
  } finally {
    await bytes.close()
  }
}

/** The same, or null if there is no such file. */
export async function readSmallIfThere(place: string, signal?: AbortSignal): Promise<Buffer | null> {
  const { stat } = openPlace(place)
  if (stat === undefined) throw noFilesBeside(place)
  return (await stat()) === null ? null : readSmall(place, signal)
}

/** Writes the file, and replaces one that is there. It is whole and durable, or the one before stays. */
export async function writeSmall(place: string, content: string | Uint8Array): Promise<void> {
  const target = openPlace(place).target({ force: true, lastWins: true })
  try {
    await target.open()
    const bytes = Buffer.from(content)
    if (bytes.length > 0) await target.write([bytes])
    await target.finish()
  } finally {
    await target.abort()
  }
}

export async function removeSmall(place: string): Promise<void> {
  const { remove } = openPlace(place)
  if (remove === undefined) throw noFilesBeside(place)
  await remove()
}

function noFilesBeside(place: string): VmapipeError {
  return new VmapipeError('USAGE', `nothing can be kept beside '${place}'`, {
    hint: 'name an archive in a folder, on another host by ssh://, or in a bucket',
  })
}
