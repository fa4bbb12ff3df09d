/** Finds the volumes of an archive on another host or in a bucket. Volumes are written to folders of this host; people copy them elsewhere. */

import type { RangeOptions } from '../place.ts'
import { type FarPlace, placeText } from '../spec.ts'
import { type Beside, besideVolume } from './far-beside.ts'
import { parseList } from './list.ts'
import { listName, parseVolumeName, volumeName } from './names.ts'
import { unlistedSizes } from './unlisted.ts'
import { foreignVolume, laterVolume, missingVolume, shortVolume } from './wrong-volume.ts'

export interface FarVolume {
  place: FarPlace
  size: number
  /** What the list says of its content; null if there is no list. */
  mark: number | null
}

/** The same as `findVolumes`, for another host or a bucket. Marks are checked when a volume is opened: before, that would be a session for each. */
export async function findFarVolumes(place: FarPlace, options: RangeOptions): Promise<FarVolume[] | null> {
  const name = parseVolumeName(nameOf(place))
  return name === null ? null : listed(place, name, await besideVolume(place, name.base, options))
}

/** The same as `findUnlistedVolumes`, for another host or a bucket. */
export async function findUnlistedFarVolumes(place: FarPlace, options: RangeOptions): Promise<FarVolume[] | null> {
  const name = parseVolumeName(nameOf(place))
  if (name === null) return null
  const beside = await besideVolume(place, name.base, options)
  const volumes = listed(place, name, beside)
  if (volumes !== null || name.number > 0 || !beside.sizes.has(1)) return volumes
  const at = (number: number) => withName(place, volumeName(name.base, number))
  const sizes = unlistedSizes(beside.sizes, (number) => placeText(at(number)))
  return sizes.map((size, number) => ({ place: at(number), size, mark: null }))
}

function listed(
  place: FarPlace,
  { base, number }: { base: string; number: number },
  { list, sizes }: Beside,
): FarVolume[] | null {
  if (list === null) return null
  const volumes = parseList(list, placeText(withName(place, listName(base))))
  if (number >= volumes.length) return null
  if (number > 0) throw laterVolume(placeText(place), placeText(withName(place, volumeName(base, 0))))
  return volumes.map(({ size, mark }, at) => {
    const volume = withName(place, volumeName(base, at))
    const there = sizes.get(at)
    if (there === undefined) throw missingVolume(placeText(volume))
    if (there < size) throw shortVolume(placeText(volume), there, size)
    if (there > size) throw foreignVolume(placeText(volume))
    return { place: volume, size, mark }
  })
}

/** A path there may be any bytes, and is a text of one character for each here. */
function nameOf(place: FarPlace): string {
  return place.kind === 'ssh' ? place.path.toString('latin1') : place.key
}

function withName(place: FarPlace, name: string): FarPlace {
  return place.kind === 'ssh' ? { ...place, path: Buffer.from(name, 'latin1') } : { ...place, key: name }
}
