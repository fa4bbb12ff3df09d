/** The guests of a job that the user has named. */

import { VmapipeError } from '../../core/errors.ts'
import { didYouMean } from '../../core/suggest.ts'
import type { Guest } from '../guests/guest.ts'

/** All of them if none is named. Throws USAGE for a name that is not there. */
export function chosenGuests(guests: readonly Guest[], names: readonly string[] | undefined, job: string): Guest[] {
  if (names === undefined) return [...guests]
  const all = guests.map(({ name }) => name)
  const strange = names.find((name) => !all.includes(name))
  if (strange !== undefined) {
    const list = all.length <= 20 ? all.join(', ') : `${all.slice(0, 20).join(', ')}…`
    const hint = didYouMean(strange, all) ?? (all.length === 0 ? 'it has none now' : `it has ${list}`)
    throw new VmapipeError('USAGE', `the job '${job}' has no guest '${strange}'`, { hint })
  }
  return guests.filter(({ name }) => names.includes(name))
}
