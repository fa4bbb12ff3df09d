/** The errors of volumes that are not there, or are not those that were written. */

import { VmapipeError } from '../../../core/errors.ts'

export function missingVolume(place: string): VmapipeError {
  return new VmapipeError('INCOMPLETE', `volume '${place}' is missing`, { file: place })
}

export function shortVolume(place: string, there: number, size: number): VmapipeError {
  const message = `volume '${place}' is short: it has ${there} bytes of ${size}`
  return new VmapipeError('INCOMPLETE', message, { file: place })
}

export function foreignVolume(place: string): VmapipeError {
  return new VmapipeError('DAMAGED', `volume '${place}' is not the one that was written`, {
    file: place,
    hint: 'it is in the place of another volume, of another archive, or damaged',
  })
}

/** A later volume was named instead of the first. */
export function laterVolume(place: string, first: string): VmapipeError {
  return new VmapipeError('USAGE', `'${place}' is one of several volumes`, { hint: `name the first, '${first}'` })
}
