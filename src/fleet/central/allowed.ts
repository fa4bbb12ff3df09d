/**
 * What a host lets central jobs do. They write to the places of the host's own job files, and to those that `--allow-place` names; sockets of
 * guests are those of own job files, or below `--allow-sockets`. So a planner that was taken over cannot send data of guests to itself.
 */

import { isDeepStrictEqual } from 'node:util'
import { VmapipeError } from '../../core/errors.ts'
import type { Job, PlaceEntry } from '../../jobs/file/schema.ts'
import { isSealed } from '../../jobs/run/archive-plan.ts'
import { isPlainPath } from './rules.ts'

export interface Allowed {
  /** The job files of the host itself. */
  own: readonly Job[]
  /** Beginnings of places. */
  places: readonly string[]
  /** Folders of sockets. */
  sockets: readonly string[]
}

/** Throws CONFIG for the first thing that the host does not let it do. The job went through `checkCentralJob`. */
export function refuseUnlessAllowed(job: Job, allowed: Allowed): void {
  for (const entry of job.to) {
    const same = allowed.own.flatMap(({ to }) => to).filter(({ place }) => trimmed(place) === trimmed(entry.place))
    if (same.length === 0 && !allowed.places.some((prefix) => isBelow(entry.place, prefix))) {
      throw refused(job, `it writes to '${entry.place}'`, 'let it: vmapipe fleet join --allow-place PLACE')
    }
    if (!isSealed(entry) && same.some(isSealed))
      throw refused(job, `it writes plain archives to '${entry.place}'`, 'jobs of this host encrypt theirs there')
    const strange = strangeRecipient(entry, same)
    if (strange !== undefined)
      throw refused(job, `it encrypts for '${strange}' at '${entry.place}'`, 'jobs of this host do not, there')
    if (entry.keep !== undefined && !mayRemove(entry, allowed.own))
      throw refused(
        job,
        `it keeps other archives at '${entry.place}' than jobs of this host`,
        'leave its keep out, or make it the same',
      )
  }
  for (const entry of job.guests) {
    for (const pattern of [...(entry.qmp ?? []), ...(entry.attach ?? [])]) {
      const isOwn = allowed.own.some(({ guests }) =>
        guests.some(({ qmp = [], attach = [] }) => qmp.includes(pattern) || attach.includes(pattern)),
      )
      if (!isOwn && !allowed.sockets.some((folder) => isBelow(pattern, folder)))
        throw refused(job, `it looks for sockets at '${pattern}'`, 'let it: vmapipe fleet join --allow-sockets FOLDER')
    }
  }
}

/** Archives that only others can read would replace those that the host can. Which keys are in files is not looked at here. */
function strangeRecipient({ recipients = [] }: PlaceEntry, same: readonly PlaceEntry[]): string | undefined {
  if (same.length === 0) return undefined
  const known = same.flatMap((entry) => entry.recipients ?? [])
  return recipients.find((recipient) => !known.includes(recipient))
}

/** What removes archives at the place of own jobs, or above it, goes by their rules: otherwise a planner could have all of them removed. */
function mayRemove({ place, keep }: PlaceEntry, own: readonly Job[]): boolean {
  const there = own.flatMap(({ to }) => to).filter((entry) => isBelow(entry.place, place))
  return there.every((entry) => isDeepStrictEqual({ ...entry.keep }, { ...keep }))
}

function refused(job: Job, what: string, hint: string): VmapipeError {
  return new VmapipeError(
    'CONFIG',
    `the central job '${job.name}' is refused: ${what}, which this host does not let it`,
    {
      hint,
    },
  )
}

function trimmed(place: string): string {
  return place.replace(/\/+$/, '')
}

/** Whether the place is the prefix, or in it. */
function isBelow(place: string, prefix: string): boolean {
  const base = trimmed(prefix)
  if (place.startsWith('/') !== base.startsWith('/')) return false
  if (place.startsWith('/') && !isPlainPath(place)) return false
  return trimmed(place) === base || place.startsWith(`${base}/`)
}
