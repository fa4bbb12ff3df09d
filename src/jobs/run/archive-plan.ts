/**
 * Decides what the next archive of a guest is: full, or incremental since which archive, and where it goes. The parent is the newest
 * archive that all required places have with its whole chain: a backup is read once, and its archive must be of use at each of them. A
 * place that is not required and lacks the parent gets the archive afterwards, as a copy with its parents.
 */

import { readCatalog } from '../../catalog/catalog.ts'
import type { CatalogEntry } from '../../catalog/entry.ts'
import type { Keyring } from '../../codecs/age/keyring.ts'
import { parseCompression } from '../../operations/compression.ts'
import { nameInFolder } from '../../operations/since/naming.ts'
import { openPlace } from '../../storage/archive/open-place.ts'
import { fileName } from '../../storage/archive/spec.ts'
import type { Job, PlaceEntry } from '../file/schema.ts'
import type { Rhythm } from '../file/values.ts'
import type { Guest } from '../guests/guest.ts'
import { folderAt, isRequired } from './places.ts'
import { fullIsDue } from './rhythm.ts'

export interface ArchivePlan {
  /** The time of the archive, which is in its name: milliseconds since 1970. */
  time: number
  kind: 'full' | 'incremental'
  /** Why it is a full one, or since when it is incremental. */
  reason: string
  /** Place of the parent. */
  parent: string | null
  /** Where it is written now: the required places first. */
  targets: { entry: PlaceEntry; to: string }[]
  /** Places that lack the parent, and get a copy. */
  later: PlaceEntry[]
}

interface PlanOptions {
  /** Milliseconds since 1970. */
  now: number
  /** The places that can be written tonight. */
  places: readonly PlaceEntry[]
  keys?: Keyring | undefined
  signal: AbortSignal
  warn: (message: string) => void
  /** A full archive whatever the rhythm says. */
  full?: boolean | undefined
  /** Only looks: no folder is made. */
  look?: boolean | undefined
  /** The time in the archive's name, if it is not to be chosen. */
  time?: number | undefined
  /** When it was due: an archive of that time or later is no parent. One of the same time is damaged, or the backup would not be made. */
  due?: number | undefined
}

/** Errors: FAILED if a required place cannot be listed, ABORTED. */
export async function planArchive(job: Job, guest: Guest, options: PlanOptions): Promise<ArchivePlan> {
  if (!options.look) await makeFolders(guest, options)
  const places = [...options.places].sort((a, b) => Number(isRequired(b)) - Number(isRequired(a)))
  const rhythm: Rhythm =
    options.full || (guest.entry.pipeline ?? job.pipeline) !== undefined
      ? { kind: 'always' }
      : (job.full ?? { kind: 'always' })
  const since =
    rhythm.kind === 'always' ? 'every archive of this job is' : await sinceOf(guest, places, rhythm, options)
  const isIncremental = typeof since !== 'string'
  const written = isIncremental ? places.filter((entry) => isRequired(entry) || since.has.includes(entry)) : places
  const targetsAt = (now: number) =>
    written.map((entry) => ({ entry, to: targetOf(job, guest, entry, { isIncremental, now }) }))
  const time = options.time ?? (options.look ? options.now : await freeTime(targetsAt, options))
  return {
    time,
    kind: isIncremental ? 'incremental' : 'full',
    reason: isIncremental ? `since '${since.parent.name}'` : options.full ? 'it was asked for' : since,
    parent: isIncremental ? since.parent.place : null,
    targets: targetsAt(time),
    later: places.filter((entry) => !written.includes(entry)),
  }
}

/** Makes the folder of the guest at each place. Errors: that of a required place. */
export async function makeFolders(guest: Guest, { places, warn }: Pick<PlanOptions, 'places' | 'warn'>): Promise<void> {
  for (const entry of places) {
    await openPlace(`${folderAt(entry, guest.name)}any`)
      .makeFolder?.()
      .catch((error) => {
        if (isRequired(entry)) throw error
        warn(`the folder of the guest at '${entry.place}' cannot be made: ${error.message}`)
      })
  }
}

interface Since {
  parent: CatalogEntry
  /** The places that have it with its chain. */
  has: PlaceEntry[]
}

/** The parent; or why the archive is a full one. */
async function sinceOf(
  guest: Guest,
  places: readonly PlaceEntry[],
  rhythm: Rhythm,
  options: PlanOptions,
): Promise<Since | string> {
  const lists = await Promise.all(
    places.map(async (entry) => ({ entry, archives: await archivesOf(guest.name, entry, options) })),
  )
  const required = lists.filter(({ entry }) => isRequired(entry))
  const isKnown = (archive: CatalogEntry) => archive.unreadable === undefined && archive.guest === guest.name
  // Where the archives are encrypted and there is no key, others may tell what they are.
  const [base] = required.toSorted((a, b) => b.archives.filter(isKnown).length - a.archives.filter(isKnown).length)
  const { due: latest = Number.POSITIVE_INFINITY } = options
  const isBefore = ({ ctime }: CatalogEntry) => ctime < Math.floor(latest / 1000)
  const candidates = base.archives.filter((archive) => isKnown(archive) && isBefore(archive)).sort(byAge)
  if (candidates.length === 0) {
    const sealed = base.archives.some(({ encrypted, unreadable }) => encrypted && unreadable !== undefined)
    return sealed
      ? 'the archives of this guest are encrypted, and no key opens them (identity)'
      : 'there is no archive of this guest yet'
  }
  for (const candidate of candidates) {
    const chain = chainOf(candidate, candidates)
    if (chain === null) continue
    const has = lists.filter(({ archives }) => missingOf(chain, archives).length === 0).map(({ entry }) => entry)
    if (!required.every(({ entry }) => has.includes(entry))) continue
    const began = chain.at(-1)!.ctime * 1000
    const due = fullIsDue(rhythm, { began, archives: chain.length }, options.time ?? options.now)
    return due ?? { parent: candidate, has }
  }
  return required.length > 1
    ? 'no archive of this guest is whole at all required places'
    : 'no archive of this guest can be the parent'
}

/** What is in the folder of a guest. What cannot be listed at a place that is not required has none. */
export async function archivesOf(
  guest: string,
  entry: PlaceEntry,
  { keys, signal, warn, look }: Pick<PlanOptions, 'keys' | 'signal' | 'warn' | 'look'>,
): Promise<CatalogEntry[]> {
  const folder = folderAt(entry, guest)
  try {
    return (await readCatalog(folder, { keys, signal, warn })).filter(isGood)
  } catch (error) {
    signal.throwIfAborted()
    // Nothing was made: the folder need not be there yet.
    if (look) return []
    if (isRequired(entry)) throw error
    warn(`'${entry.place}' cannot be listed: ${(error as Error).message}`)
    return []
  }
}

function byAge(a: CatalogEntry, b: CatalogEntry): number {
  return b.ctime - a.ctime
}

/** Whether no check has found it damaged. That its guest did not boot says nothing of its data. */
export function isGood({ checks }: CatalogEntry): boolean {
  return checks.every(({ kind, passed }) => passed || kind === 'boot')
}

/** The archive with its parents down to the full one, the newest first; null if one is missing. */
export function chainOf(archive: CatalogEntry, archives: readonly CatalogEntry[]): CatalogEntry[] | null {
  const chain = [archive]
  for (;;) {
    const { parent } = chain.at(-1)!
    if (parent === null) return chain
    const found = archives.find(({ uuid }) => uuid === parent)
    if (found === undefined || chain.includes(found)) return null
    chain.push(found)
  }
}

/** The archives of the chain that are not among these. Of one that is encrypted only the name may be known. */
export function missingOf(chain: readonly CatalogEntry[], archives: readonly CatalogEntry[]): CatalogEntry[] {
  const plain = ({ name }: CatalogEntry) => name.replace(/\.age$/, '')
  return chain.filter(
    (wanted) =>
      !archives.some((archive) =>
        archive.unreadable === undefined ? archive.uuid === wanted.uuid : plain(archive) === plain(wanted),
      ),
  )
}

/** Seconds that an archive's time may be ahead for the sake of its name. */
const MOST_AHEAD = 10

/** The time from now on at which no target has an archive of that name: one of a run a moment ago may be of the same second. */
async function freeTime(
  targetsAt: (now: number) => ArchivePlan['targets'],
  { now, signal }: PlanOptions,
): Promise<number> {
  for (let ahead = 0; ahead < MOST_AHEAD; ahead++) {
    const time = now + ahead * 1000
    const there = await Promise.all(targetsAt(time).map(({ to }) => openPlace(to).stat?.()))
    signal.throwIfAborted()
    if (there.every((entry) => entry == null)) return time
  }
  return now
}

/** The place of the archive: a name of the guest and the time. */
function targetOf(
  job: Job,
  guest: Guest,
  entry: PlaceEntry,
  { isIncremental, now }: { isIncremental: boolean; now: number },
): string {
  const { method } = parseCompression(compressOf(job, guest))
  const compression = method === 'none' ? null : method
  const isEncrypted = isSealed(entry)
  const ctime = Math.floor(now / 1000)
  return (
    folderAt(entry, guest.name) +
    nameInFolder({ guest: nameFor(guest), ctime, isIncremental, compression, isEncrypted })
  )
}

export function compressOf(job: Job, { entry }: Guest): string {
  return entry.compress ?? job.compress ?? 'zstd'
}

export function isSealed(entry: PlaceEntry): boolean {
  return (entry.recipients ?? entry['recipients-files']) !== undefined
}

/** Proxmox finds an archive by the number of its guest. */
export function nameFor({ name, source }: Guest): string {
  return source.kind === 'proxmox' ? `proxmox:${source.id}` : name
}

/** Whether it is the archive that was asked for; an incremental one may have become a full one. */
export function sameArchive(place: string, asked: string): boolean {
  const plain = (text: string) => fileName(text).replace(/\.vm[ai](?=\.|$)/, '.vm')
  return (
    plain(place) === plain(asked) && place.slice(0, place.lastIndexOf('/')) === asked.slice(0, asked.lastIndexOf('/'))
  )
}
