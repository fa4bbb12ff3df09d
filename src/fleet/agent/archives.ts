/** Tells the planner which archives there are: the places have the truth, and the planner only remembers it. */

import { createHash, randomUUID } from 'node:crypto'
import { readCatalog } from '../../catalog/catalog.ts'
import type { CatalogEntry } from '../../catalog/entry.ts'
import { Keyring } from '../../codecs/age/keyring.ts'
import { asVmapipeError, type VmapipeError } from '../../core/errors.ts'
import { pathIn } from '../../jobs/file/load.ts'
import type { Job } from '../../jobs/file/schema.ts'
import { guestOfFolder } from '../../jobs/guests/guest.ts'
import { folderAt } from '../../jobs/run/places.ts'
import { openArchiveFolder } from '../../storage/archive/archive-folder.ts'
import { mayBeginArchive } from '../../storage/archive/names.ts'
import type { AgentArchive, ArchivesEvent } from '../messages/events.ts'
import { takeableArchives } from './takeable.ts'

const MOST_ARCHIVES = 10_000
const LONGEST_REASON = 2000
const MOST_NOTES = 64 << 10
const MOST_CHECKS = 10
/** Bytes of a list: a planner takes no message that is longer than 32 MiB. */
const MOST_BYTES = 16 << 20
const SHORT_NOTES = 200

export function keysOf(job: Job): Keyring | undefined {
  return job.identity && new Keyring({ identities: job.identity.map((path) => pathIn(job, path)) })
}

interface ListOptions {
  signal: AbortSignal
  warn: (text: string) => void
}

/** Lists of archives, of which only those are told again that have changed. */
export class ArchiveLists {
  readonly #told = new Map<string, string>()

  /** The archives of a guest at all places of the job. `all`: also those that were told before. Errors: ABORTED. */
  async of(job: Job, guest: string, { signal, warn }: ListOptions, all = false): Promise<ArchivesEvent[]> {
    const keys = keysOf(job)
    const events: ArchivesEvent[] = []
    for (const entry of job.to) {
      try {
        const found = await readCatalog(folderAt(entry, guest), { keys, signal })
        const told = found.slice(-MOST_ARCHIVES).map((one) => archiveOf(one, guest))
        const archives = fitting(takeableArchives(told, warn))
        const hash = createHash('sha256').update(JSON.stringify(archives)).digest('hex')
        const key = JSON.stringify([job.name, entry.place, guest])
        if (!all && this.#told.get(key) === hash) continue
        this.#told.set(key, hash)
        const common = { id: randomUUID(), at: new Date().toISOString(), event: 'archives' } as const
        events.push({ ...common, job: job.name, place: entry.place, guest, archives })
      } catch (error) {
        signal.throwIfAborted()
        const failure = asVmapipeError(error)
        if (!isNotThere(failure)) warn(`'${entry.place}' cannot be listed: ${failure.text}`)
      }
    }
    return events
  }
}

/**
 * The guests whose folders are at the places of a job: also those that are in no job any more, and that nobody remembers. A place that cannot be
 * listed tells none. Errors: ABORTED.
 */
export async function guestsAt(job: Job, { signal, warn }: ListOptions): Promise<Set<string>> {
  const guests = new Set<string>()
  for (const { place } of job.to) {
    try {
      const folder = await openArchiveFolder(place)
      for await (const { name } of folder.list({ folders: true, signal })) {
        const [of, file] = name.split('/')
        const guest = file !== undefined && mayBeginArchive(file) ? guestOfFolder(of) : null
        if (guest !== null) guests.add(guest)
      }
    } catch (error) {
      signal.throwIfAborted()
      const failure = asVmapipeError(error)
      if (!isNotThere(failure)) warn(`'${place}' cannot be listed: ${failure.text}`)
    }
  }
  return guests
}

/** A guest without a backup has no folder. That a place is away says nothing about what is there. */
function isNotThere({ text }: VmapipeError): boolean {
  return /no such file/i.test(text)
}

/** Thousands of archives with long notes: the notes are cut first, then the oldest archives are left out. */
export function fitting(archives: AgentArchive[], most = MOST_BYTES): AgentArchive[] {
  const bytesOf = (list: readonly AgentArchive[]) => Buffer.byteLength(JSON.stringify(list))
  if (bytesOf(archives) <= most) return archives
  let left = archives.map((one) => ({ ...one, notes: one.notes?.slice(0, SHORT_NOTES) ?? null }))
  while (left.length > 1 && bytesOf(left) > most) left = left.slice(Math.ceil(left.length / 4))
  return left
}

/** One in the guest's folder that cannot be read is taken for the guest's. */
function archiveOf(entry: CatalogEntry, folderOf: string): AgentArchive {
  const { place, name, guest, uuid, ctime, kind, parent, size, encrypted, unreadable, isLocked, written, notes } = entry
  return {
    ...{ place, name, guest: guest ?? folderOf, uuid, ctime, kind, parent, size, encrypted },
    ...(unreadable !== undefined && { unreadable: unreadable.slice(0, LONGEST_REASON) }),
    ...(isLocked && { locked: true, ...(written !== null && { written }) }),
    protected: entry.protected,
    notes: notes?.slice(0, MOST_NOTES) ?? null,
    checks: entry.checks.slice(-MOST_CHECKS).map((check) => ({ ...check })),
  }
}
