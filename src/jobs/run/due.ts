/**
 * What is there of the archive of a time at which a guest was due. A fleet may give the same backup twice, and a host and its planner may both
 * begin it: the time in the archive's name is the time at which it was due, so whoever comes second finds the archive.
 *
 * An archive counts by the time in its record, or by its name if that is all that is known. Names of Proxmox have the time of a host's zone:
 * there the record decides, so that hosts of two zones agree. The record of a guest of our disk server, and that of a pipeline, has the
 * time of its own clock: there the name decides.
 */

import { readCatalog } from '../../catalog/catalog.ts'
import type { CatalogEntry } from '../../catalog/entry.ts'
import type { Keyring } from '../../codecs/age/keyring.ts'
import { VmapipeError } from '../../core/errors.ts'
import { hasBothEnds } from '../../operations/cut-archive.ts'
import { nameInFolder } from '../../operations/since/naming.ts'
import { parseVolumeName } from '../../storage/archive/volumes/names.ts'
import type { Job, PlaceEntry } from '../file/schema.ts'
import type { Guest } from '../guests/guest.ts'
import { chainOf, isGood, nameFor } from './archive-plan.ts'
import { folderAt, isRequired } from './places.ts'

export interface LookOptions {
  /** When it was due: milliseconds since 1970. */
  due: number
  keys: Keyring | undefined
  /** Told of an archive that does not count, although nothing was known of its damage. */
  warn: (text: string) => void
  signal: AbortSignal
}

/** An archive at a place, with all archives of its guest there. */
export interface Found {
  entry: PlaceEntry
  archive: CatalogEntry
  archives: readonly CatalogEntry[]
}

export type Due =
  /** All required places have it. */
  | { state: 'done'; found: Found[] }
  /** Some have it, and the others get a copy. */
  | { state: 'some'; found: Found[]; lacking: PlaceEntry[] }
  /** It is to be made, with this time in its name. */
  | { state: 'new'; time: number }

/**
 * A second is added to the time for each archive that is there and is known to be damaged, or was cut: otherwise a guest whose archive was damaged
 * could not be backed up again. More than so many seconds are not added.
 */
const MOST_DAMAGED = 10

/** Errors: FAILED if a place cannot be listed, or the name is taken by what is not this archive; ABORTED. */
export async function lookForDue(
  job: Job,
  guest: Guest,
  places: readonly PlaceEntry[],
  options: LookOptions,
): Promise<Due> {
  const all = await Promise.all(places.map(async (entry) => lookAt(job, guest, entry, options)))
  const found = all.flatMap((one) => ('archive' in one ? [one] : []))
  const lacking = all.flatMap((one) => ('archive' in one ? [] : [one]))
  if (found.length > 0 && !lacking.some(({ entry }) => isRequired(entry))) return { state: 'done', found }
  const latest = Math.max(options.due, ...lacking.map(({ time }) => time))
  // A place whose archive is damaged gets no second one of that name: all get a new one.
  const isCopied = found.some(({ entry }) => isRequired(entry)) && latest === options.due
  if (isCopied) return { state: 'some', found, lacking: lacking.map(({ entry }) => entry) }
  return { state: 'new', time: latest }
}

async function lookAt(
  job: Job,
  guest: Guest,
  entry: PlaceEntry,
  options: LookOptions,
): Promise<Found | { entry: PlaceEntry; time: number }> {
  const { due, keys, signal } = options
  const archives = await readCatalog(folderAt(entry, guest.name), { keys, signal })
  for (let time = due; time < due + MOST_DAMAGED * 1000; time += 1000) {
    const same = archives.filter((archive) => isNamed(archive, guest, time) || isOf(archive, guest, time))
    if (same.length === 0) return { entry, time }
    for (const archive of same.filter((one) => isIt(one, job, guest, time) && isWhole(one, archives)))
      if (await hasItsEnd(archive, options)) return { entry, archive, archives }
    const strange = same.find((one) => !isIt(one, job, guest, time))
    if (strange !== undefined) {
      throw new VmapipeError(
        'FAILED',
        `the name of the archive is taken: '${strange.place}' ${whatIs(strange, guest)}`,
        {
          hint: 'see what it is, and move it away; the guest is backed up then',
        },
      )
    }
  }
  throw new VmapipeError('FAILED', `${MOST_DAMAGED} archives of this time are damaged at '${entry.place}'`)
}

/** Whether the name says so: any kind, compression and encryption. */
function isNamed({ name }: CatalogEntry, guest: Guest, time: number): boolean {
  const own = nameInFolder({ guest: nameFor(guest), ctime: secondsOf(time), ...PLAIN })
  return stemOf(name) === stemOf(own)
}

const PLAIN = { isIncremental: false, compression: null, isEncrypted: false }

function stemOf(name: string): string {
  return name.replace(/\.vm[ai](\.[a-z0-9]{2,3})*?(\.\d{3})?$/, '')
}

/** Whether its record says so. */
function isOf({ guest: of, ctime, unreadable }: CatalogEntry, guest: Guest, time: number): boolean {
  return unreadable === undefined && of === guest.name && ctime === secondsOf(time)
}

function secondsOf(time: number): number {
  return Math.floor(time / 1000)
}

/** Whether it is the archive, as far as can be known. */
function isIt(archive: CatalogEntry, job: Job, guest: Guest, time: number): boolean {
  // It was made for this place, and nobody here can open it.
  if (archive.unreadable !== undefined)
    return isInVolumes(archive) || (archive.encrypted && job.identity === undefined && archive.size > 0)
  if (isOf(archive, guest, time)) return true
  const hasOwnClock = guest.source.kind === 'attach' || (guest.entry.pipeline ?? job.pipeline) !== undefined
  return hasOwnClock && (archive.guest === guest.name || archive.guest === null)
}

/** Whether no check has found it damaged, and its parents are there. */
function isWhole(archive: CatalogEntry, archives: readonly CatalogEntry[]): boolean {
  return isGood(archive) && (archive.unreadable !== undefined || chainOf(archive, archives) !== null)
}

/** Whether it was not cut. Of one that nobody here can open only the size is known. */
async function hasItsEnd(archive: CatalogEntry, { keys, warn, signal }: LookOptions): Promise<boolean> {
  const { place, unreadable } = archive
  // One in volumes cannot be read if one of them is not there.
  const isSealed = unreadable !== undefined && !isInVolumes(archive)
  if (isSealed || (await hasBothEnds({ from: place, signal, ...(keys && { keys }) }))) return true
  warn(`'${place}' was cut, so it does not count: the guest is backed up again`)
  return false
}

function isInVolumes({ name }: CatalogEntry): boolean {
  return parseVolumeName(name) !== null
}

function whatIs({ unreadable, guest: of, ctime }: CatalogEntry, guest: Guest): string {
  if (unreadable !== undefined) return `cannot be read: ${unreadable}`
  if (of !== guest.name) return of === null ? 'tells no guest' : `is of the guest '${of}'`
  return `is of another time, ${new Date(ctime * 1000).toISOString()}`
}
