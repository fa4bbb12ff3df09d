/**
 * Finds the guests of a job: what its patterns match now. The first entry that has a guest says how it is backed up. An entry whose
 * hypervisor does not answer is a problem of its own; the guests of the others are found.
 */

import { asVmapipeError } from '../../core/errors.ts'
import type { GuestEntry, Job } from '../file/schema.ts'
import { checkName, type Guest, sourceKey, sourceText } from './guest.ts'
import { libvirtGuests } from './libvirt.ts'
import { matchesAny } from './patterns.ts'
import { proxmoxGuests } from './proxmox.ts'
import { socketGuests } from './sockets.ts'

export interface Found {
  guests: Guest[]
  /** Why guests are not backed up: a line for each entry that could not be looked at, and for each guest that is left out. */
  errors: string[]
  /** Entries that are for no guest now. */
  warnings: string[]
}

/** The guests of all entries, in the order of the file. Errors: ABORTED. */
export async function findGuests(job: Job, signal: AbortSignal): Promise<Found> {
  const guests: Guest[] = []
  const errors: string[] = []
  const warnings: string[] = []
  for (const [index, entry] of job.guests.entries()) {
    signal.throwIfAborted()
    const where = `guests[${index}]`
    try {
      const found = (await guestsOf(entry, job, signal)).filter(({ name }) => !matchesAny(name, entry.exclude ?? []))
      if (found.length === 0) warnings.push(`${where} finds no guest`)
      if (entry.name !== undefined && found.length > 1)
        errors.push(`${where}: ${found.length} guests are to be named '${entry.name}'; only the first one is backed up`)
      for (const guest of found) add(guest, guests, errors)
    } catch (error) {
      signal.throwIfAborted()
      errors.push(`${where}: ${asVmapipeError(error).text}`)
    }
  }
  return { guests, errors, warnings }
}

function add(guest: Guest, guests: Guest[], errors: string[]): void {
  checkName(guest.name)
  if (guests.some(({ source }) => sourceKey(source) === sourceKey(guest.source))) return
  const same = guests.find(({ name }) => name === guest.name)
  if (same === undefined) {
    guests.push(guest)
    return
  }
  errors.push(
    `two guests are named '${guest.name}': ${sourceText(same.source)}, and ${sourceText(guest.source)}, which is not backed up; name one of them by an entry of its own`,
  )
}

async function guestsOf(entry: GuestEntry, job: Job, signal: AbortSignal): Promise<Guest[]> {
  if (entry.libvirt !== undefined) return libvirtGuests(entry, entry.connect ?? job.connect, signal)
  if (entry.proxmox !== undefined) return proxmoxGuests(entry, signal)
  if (entry.qmp !== undefined || entry.attach !== undefined) return socketGuests(entry, signal)
  return [{ name: entry.name!, source: { kind: 'drives', drives: entry.drives as Record<string, string> }, entry }]
}
