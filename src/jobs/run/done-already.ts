/** Whether a run has nothing to do: all of its guests have the archive of the time at which they were due. */

import { Keyring } from '../../codecs/age/keyring.ts'
import { pathIn } from '../file/load.ts'
import type { Job } from '../file/schema.ts'
import { findGuests } from '../guests/find.ts'
import type { Guest } from '../guests/guest.ts'
import { chosenGuests } from './chosen.ts'
import { type Found, lookForDue } from './due.ts'
import { isRequired } from './places.ts'

interface Options {
  due: number | undefined
  /** Names of the guests; all by default. */
  guests: readonly string[] | undefined
  signal: AbortSignal
}

/**
 * The guests with their archives; null if one is to be backed up, or cannot be looked at, which the run tells. No place is written. Errors:
 * USAGE for guests that the job does not have, ABORTED.
 */
export async function doneAlready(
  job: Job,
  { due, guests: names, signal }: Options,
): Promise<{ guest: Guest; found: Found[] }[] | null> {
  if (due === undefined) return null
  const { guests } = await findGuests(job, signal)
  const required = job.to.filter(isRequired)
  const keys = job.identity && new Keyring({ identities: job.identity.map((path) => pathIn(job, path)) })
  const all: { guest: Guest; found: Found[] }[] = []
  for (const guest of chosenGuests(guests, names, job.name)) {
    const look = await lookForDue(job, guest, required, { due, keys, signal, warn: () => {} }).catch(() => null)
    signal.throwIfAborted()
    if (look?.state !== 'done') return null
    all.push({ guest, found: look.found })
  }
  return all.length === 0 ? null : all
}
