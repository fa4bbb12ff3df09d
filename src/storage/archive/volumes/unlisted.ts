/** Volumes that have no list, as after split(1): their names and sizes tell which belong together. */

import { VmapipeError } from '../../../core/errors.ts'
import { missingVolume } from './wrong-volume.ts'

/**
 * The sizes of the volumes in their order, by the sizes of those that are there. All volumes have one size but the last, which may have
 * less, and no number is left out. Throws INCOMPLETE, DAMAGED with the name of the volume.
 */
export function unlistedSizes(there: ReadonlyMap<number, number>, nameOf: (number: number) => string): number[] {
  const sizes: number[] = []
  for (let number = 0; number <= Math.max(...there.keys()); number++) {
    const size = there.get(number)
    if (size === undefined) throw missingVolume(nameOf(number))
    sizes.push(size)
  }
  const [first] = sizes
  const last = sizes.length - 1
  const odd = sizes.findIndex((size, number) => (number < last ? size !== first : size > first))
  if (odd < 0) return sizes
  throw new VmapipeError('DAMAGED', `volume '${nameOf(odd)}' has ${sizes[odd]} bytes, the first has ${first}`, {
    file: nameOf(odd),
    hint: 'it is short, or of another archive',
  })
}
