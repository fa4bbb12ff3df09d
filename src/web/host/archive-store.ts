/**
 * The archives of the places that jobs name, and of other places that the page was told. A place is listed again only if one of its folders
 * has changed, or, if it is on another host or in a bucket, after some minutes. What was read stays in memory: an answer reads nothing.
 */

import { createHash } from 'node:crypto'
import { readdir, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { readCatalog } from '../../catalog/catalog.ts'
import type { CatalogEntry } from '../../catalog/entry.ts'
import { Families } from '../../catalog/families.ts'
import { Keyring } from '../../codecs/age/keyring.ts'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { pathIn } from '../../jobs/file/load.ts'
import type { Job } from '../../jobs/file/schema.ts'
import { guestOfFolder } from '../../jobs/guests/guest.ts'
import { parsePlace } from '../../storage/archive/spec.ts'
import type { ArchiveRow } from '../house.ts'
import { picturePlace } from './pictures.ts'

/** Milliseconds after which a place is listed again whatever its folders say, and one that is not on this host at all. */
const RELIST_MS = 600_000
/** The longest that listing a place may take. */
const LIST_MS = 300_000

/** An archive that the page knows. */
export interface KnownArchive {
  id: string
  entry: CatalogEntry
  /** Files with secret keys, by the jobs that write to its place. */
  identity: readonly string[]
}

interface Place {
  spec: string
  identity: readonly string[]
}

interface Listed {
  place: Place
  /** Changes with the folders of the place; null if nobody can tell. */
  stamp: string | null
  at: number
  archives: KnownArchive[]
  rows: ArchiveRow[]
  /** The newest good archive of each guest, in seconds since 1970. */
  lastGood: ReadonlyMap<string, number>
  /** Whether all archives could be read. */
  isWhole: boolean
  problem: string | null
}

export class ArchiveStore {
  readonly #host: string
  readonly #extra: readonly string[]
  #places = new Map<string, Listed>()
  #byId = new Map<string, KnownArchive>()
  #rows: ArchiveRow[] = []
  #byGuest = new Map<string, ArchiveRow[]>()
  /** Times that a place was listed, for tests. */
  lists = 0

  /** `extra`: places beside those of jobs. */
  constructor(host: string, extra: readonly string[]) {
    this.#host = host
    this.#extra = extra
  }

  /** Lists what has changed. `all`: whatever the folders say. True if archives have changed. */
  async look(jobs: readonly Job[], { all = false } = {}): Promise<boolean> {
    const places = placesOf(jobs, this.#extra)
    const before = this.#places
    const listed = await Promise.all(
      [...places].map(
        async ([key, place]) => [key, await this.#listed(place, all ? undefined : before.get(key))] as const,
      ),
    )
    this.#places = new Map(listed)
    const isNew = before.size !== listed.length || listed.some(([key, one]) => before.get(key) !== one)
    if (isNew) this.#gather()
    return isNew
  }

  /** Those of a guest, or all; the newest first. */
  rows(guest?: string): ArchiveRow[] {
    return guest === undefined ? this.#rows : (this.#byGuest.get(guest) ?? [])
  }

  /** Errors: USAGE if there is no such archive. */
  known(id: string): KnownArchive {
    const found = this.#byId.get(id)
    if (found === undefined) throw new VmapipeError('USAGE', 'this archive is not there any more')
    return found
  }

  idOf(place: string): string {
    return archiveId(place)
  }

  /** Why places could not be listed. */
  get problems(): string[] {
    return [...this.#places.values()].flatMap(({ place, problem }) =>
      problem === null ? [] : [`the archives at '${place.spec}' cannot be listed: ${problem}`],
    )
  }

  /** Whether the folder of this place is not there: nothing was written to it yet, or its disk is not mounted. */
  isMissing(place: string): boolean {
    return this.#places.get(keyOf(place))?.stamp === 'missing'
  }

  /**
   * When the newest good archive of a guest was made, in milliseconds since 1970; 0 if there is none. `isSure` is false if a place of the job
   * could not be looked at, or has archives that cannot be read.
   */
  lastGood(guest: string, { to }: Pick<Job, 'to'>): { at: number; isSure: boolean } {
    let at = 0
    let isSure = true
    for (const { place } of to) {
      const listed = this.#places.get(keyOf(place))
      if (listed === undefined || listed.problem !== null || !listed.isWhole) isSure = false
      at = Math.max(at, (listed?.lastGood.get(guest) ?? 0) * 1000)
    }
    return { at, isSure }
  }

  async #listed(place: Place, known: Listed | undefined): Promise<Listed> {
    const isSame = known !== undefined && sameWords(known.place.identity, place.identity)
    const stamp = await stampOf(place.spec)
    const age = known === undefined ? 0 : performance.now() - known.at
    if (isSame && stamp === known.stamp && age < RELIST_MS && (known.problem === null || age < 30_000)) return known
    this.lists++
    const at = performance.now()
    try {
      const keys = place.identity.length > 0 ? new Keyring({ identities: [...place.identity] }) : undefined
      const entries = await readCatalog(place.spec, { keys, signal: AbortSignal.timeout(LIST_MS) })
      const archives = entries.map((entry) => ({ id: archiveId(entry.place), entry, identity: place.identity }))
      const rows = archives.map((archive) => rowOf(archive, this.#host, place.spec))
      return { place, stamp, at, archives, rows, ...goodOf(entries), problem: null }
    } catch (error) {
      // A place that nothing was written to yet is no problem.
      const failure = asVmapipeError(error)
      const isMissing = stamp === 'missing'
      const { archives, rows, lastGood, isWhole } = isMissing ? NOTHING : (known ?? NOTHING)
      return { place, stamp, at, archives, rows, lastGood, isWhole, problem: isMissing ? null : failure.text }
    }
  }

  #gather(): void {
    const rows = [...this.#places.values()].flatMap((listed) => listed.rows)
    this.#rows = rows.sort((a, b) => ((a.at ?? '') < (b.at ?? '') ? 1 : (a.at ?? '') > (b.at ?? '') ? -1 : 0))
    this.#byGuest = Map.groupBy(
      this.#rows.filter(({ guest }) => guest !== null),
      ({ guest }) => guest!,
    )
    this.#byId = new Map([...this.#places.values()].flatMap(({ archives }) => archives.map((one) => [one.id, one])))
  }
}

const NOTHING = { archives: [], rows: [], lastGood: new Map<string, number>(), isWhole: false }

function goodOf(entries: readonly CatalogEntry[]): Pick<Listed, 'lastGood' | 'isWhole'> {
  const families = new Families(entries)
  const lastGood = new Map<string, number>()
  for (const entry of entries) {
    const { guest, ctime } = entry
    if (guest !== null && ctime > (lastGood.get(guest) ?? 0) && families.isGood(entry)) lastGood.set(guest, ctime)
  }
  return { lastGood, isWhole: entries.every(({ unreadable }) => unreadable === undefined) }
}

/** A hash, so that no path has to be taken from a browser. */
function archiveId(place: string): string {
  return createHash('sha256').update(place).digest('base64url').slice(0, 22)
}

function placesOf(jobs: readonly Job[], extra: readonly string[]): Map<string, Place> {
  const places = new Map<string, Place>()
  for (const job of jobs) {
    const own = (job.identity ?? []).map((path) => pathIn(job, path))
    for (const { place } of job.to) {
      const spec = specOf(place)
      const before = places.get(keyOf(place))?.identity ?? []
      places.set(keyOf(place), { spec, identity: [...new Set([...before, ...own])] })
    }
  }
  for (const place of extra)
    if (!places.has(keyOf(place))) places.set(keyOf(place), { spec: specOf(place), identity: [] })
  return places
}

/** A folder of this host by its whole path, so that no archive has a name that looks like an option. */
function specOf(place: string): string {
  return isLocal(place) ? resolve(place) : place
}

function keyOf(place: string): string {
  return specOf(place).replace(/\/+$/, '')
}

function isLocal(place: string): boolean {
  return !place.startsWith('s3:') && parsePlace(`${place.replace(/\/+$/, '')}/any`).kind === 'file'
}

/** The last-modified times of the folder and of those in it: whatever comes, goes or gets a note changes one of them. */
async function stampOf(spec: string): Promise<string | null> {
  if (!isLocal(spec)) return null
  try {
    const own = await stat(spec, { bigint: true })
    const folders = (await readdir(spec, { withFileTypes: true })).filter((entry) => entry.isDirectory())
    const times = await Promise.all(
      folders.map(async ({ name }) => {
        const stats = await stat(join(spec, name), { bigint: true }).catch(() => null)
        return `${name}\0${stats?.ino}\0${stats?.mtimeNs}`
      }),
    )
    return createHash('sha256')
      .update([`${own.ino} ${own.mtimeNs}`, ...times.sort()].join('\n'))
      .digest('hex')
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'missing' : null
  }
}

function sameWords(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((word, at) => word === b[at])
}

/** The guest in whose folder of the place the archive is; null if it is in none. */
function folderGuest({ place, name }: CatalogEntry, spec: string): string | null {
  const base = `${keyOf(spec)}/`
  if (!place.startsWith(base) || !place.endsWith(`/${name}`)) return null
  return guestOfFolder(place.slice(base.length, -name.length - 1))
}

function rowOf({ id, entry }: KnownArchive, host: string, place: string): ArchiveRow {
  const { name, kind, uuid, parent, ctime, size, encrypted, unreadable, isLocked: locked = false, checks } = entry
  const time = new Date(ctime * 1000)
  return {
    ...{ id, host, guest: unreadable === undefined ? entry.guest : folderGuest(entry, place) },
    ...{ place, name, kind, uuid, parent },
    at: ctime > 0 && !Number.isNaN(time.getTime()) ? time.toISOString() : locked ? entry.written : null,
    ...{ size, encrypted, locked, unreadable: (!locked && unreadable) || null },
    ...{ protected: entry.protected, notes: entry.notes },
    checks: checks.map((check) => ({
      ...{ kind: check.kind, at: check.at, passed: check.passed, detail: check.detail ?? null },
      picture: picturePlace(entry, check) !== null,
    })),
  }
}
