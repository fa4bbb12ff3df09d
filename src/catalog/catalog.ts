/**
 * Lists the archives of a place with what is known of each. Headers and notes are read once; after that the index has them. So 10,000
 * archives take a second or two.
 */

import type { Keyring } from '../codecs/age/keyring.ts'
import { asVmapipeError } from '../core/errors.ts'
import { type ArchiveFolder, openArchiveFolder } from '../storage/archive/archive-folder.ts'
import { SUFFIXES } from '../storage/archive/names.ts'
import type { PlaceEntry } from '../storage/archive/place.ts'
import { textOfNotes } from './annotations.ts'
import { parseChecks } from './checks.ts'
import type { Annotations, CatalogEntry } from './entry.ts'
import { type ArchiveFiles, contentOf, groupFiles } from './groups.ts'
import { type Header, isHeader, isUnreadable, readHeader, type Unreadable } from './header.ts'
import { CatalogIndex } from './index-file.ts'
import { compare } from './order.ts'
import { readSmall } from './small-file.ts'

export interface CatalogOptions {
  /** What opens archives that are encrypted. Without it only their names and sizes are known. */
  keys?: Keyring | undefined
  signal?: AbortSignal | undefined
  /** One line for the user that is not an error. */
  warn?: ((message: string) => void) | undefined
  /** Called with the number of archives whose headers must be read, and those that were. */
  onProgress?: ((read: number, all: number) => void) | undefined
  /** Reads all headers again, as if there were no index. */
  fresh?: boolean | undefined
  /** Leaves out the folders in the place. */
  shallow?: boolean | undefined
}

/** What is at a place. */
export interface Catalog {
  folder: ArchiveFolder
  /** The archives, by guest and time. */
  entries: CatalogEntry[]
  /** The files of each archive, by its place. */
  files: ReadonlyMap<string, ArchiveFiles>
  /** Files of archives that are gone. */
  leftOvers: ArchiveFiles[]
}

/** Archives whose headers are read at once: reading from another machine is waiting. */
const AT_ONCE = { file: 4, ssh: 4, s3: 8 }

/**
 * The archives in a folder and in the folders in it: `/srv/backup`, `ssh://host/srv/backup/`, `s3://bucket/prefix/`. Errors: USAGE for a
 * place that cannot list what is in it, FAILED, ABORTED.
 *
 *     for (const { guest, ctime, place } of await readCatalog('/srv/backup')) console.log(guest, ctime, place)
 */
export async function readCatalog(place: string, options: CatalogOptions = {}): Promise<CatalogEntry[]> {
  return (await openCatalog(place, options)).entries
}

/** The same with the files of each archive, for those who remove them. */
export async function openCatalog(place: string, options: CatalogOptions = {}): Promise<Catalog> {
  const { signal, warn = () => {}, fresh = false, shallow = false } = options
  const folder = await openArchiveFolder(place)
  const [listed, index] = await Promise.all([
    listedFiles(folder, shallow, signal),
    CatalogIndex.open(shallow ? `${folder.identity} alone` : folder.identity),
  ])
  const groups = groupFiles(listed)
  const files = new Map<string, ArchiveFiles>()
  const leftOvers = groups.filter(({ first }) => first === null)
  const reader = new Reader(folder, fresh ? null : index, index, options)
  const entries = await eachOf(
    groups.filter(({ first }) => first !== null),
    AT_ONCE[folder.kind],
    async (group) => {
      const entry = await reader.entryOf(group)
      files.set(entry.place, group)
      return entry
    },
  )
  const problem = await index.save()
  if (problem !== null) warn(`the index of '${place}' is not kept: ${problem}`)
  return { folder, entries: entries.sort(byGuestAndTime), files, leftOvers }
}

async function listedFiles(
  folder: ArchiveFolder,
  shallow: boolean,
  signal: AbortSignal | undefined,
): Promise<PlaceEntry[]> {
  const entries: PlaceEntry[] = []
  try {
    for await (const entry of folder.list({ folders: !shallow, ...(signal && { signal }) })) entries.push(entry)
  } catch (error) {
    throw asVmapipeError(error, { file: folder.spec })
  }
  return entries
}

/** Does something for all, as many at once, and keeps their order. */
async function eachOf<T, R>(all: readonly T[], atOnce: number, work: (one: T) => Promise<R>): Promise<R[]> {
  const results: R[] = new Array(all.length)
  let next = 0
  const workers = Array.from({ length: atOnce }, async () => {
    for (let at = next++; at < all.length; at = next++) results[at] = await work(all[at])
  })
  await Promise.all(workers)
  return results
}

class Reader {
  readonly #folder: ArchiveFolder
  readonly #known: CatalogIndex | null
  readonly #index: CatalogIndex
  readonly #options: CatalogOptions
  readonly #signal: AbortSignal
  #read = 0
  #missing = 0

  constructor(folder: ArchiveFolder, known: CatalogIndex | null, index: CatalogIndex, options: CatalogOptions) {
    this.#folder = folder
    this.#known = known
    this.#index = index
    this.#options = options
    this.#signal = options.signal ?? new AbortController().signal
  }

  async entryOf(group: ArchiveFiles): Promise<CatalogEntry> {
    const first = group.first!
    const place = this.#folder.at(first.name)
    const header = await this.#headerOf(contentOf(group), place)
    const known = isHeader(header) ? header : { guest: null, uuid: '', ctime: 0, parent: null }
    const isIncremental = known.uuid === '' ? /\.vmi(\.|$)/.test(group.archive) : known.parent !== null
    return {
      place,
      name: first.name.slice(group.folder.length),
      ...known,
      kind: isIncremental ? 'incremental' : 'full',
      size: group.bytes.reduce((sum, { size }) => sum + size, 0),
      written: first.modified,
      encrypted: /\.age(\.\d{3})?$/.test(first.name) || (isUnreadable(header) && header.isSealed),
      ...(await this.#annotationsOf(group)),
      ...(isUnreadable(header) && { unreadable: header.unreadable, isLocked: header.isSealed }),
    }
  }

  async #headerOf(file: PlaceEntry, place: string): Promise<Header | Unreadable> {
    const noted = this.#known?.get(file)
    if (isHeader(noted) || isUnreadable(noted)) return noted
    this.#options.onProgress?.(this.#read, ++this.#missing)
    const header = await readHeader(place, { keys: this.#options.keys, signal: this.#signal })
    this.#options.onProgress?.(++this.#read, this.#missing)
    if (!('mayChange' in header && header.mayChange)) this.#index.set(file, header)
    return header
  }

  async #annotationsOf({ beside }: ArchiveFiles): Promise<Annotations> {
    const [notes, checks] = await Promise.all([
      this.#textOf(beside.get(SUFFIXES.notes)),
      this.#textOf(beside.get(SUFFIXES.checks)),
    ])
    return {
      protected: beside.has(SUFFIXES.protection),
      notes: notes && textOfNotes(Buffer.from(notes)),
      checks: checks === null ? [] : parseChecks(checks),
    }
  }

  /** The text of a small file; null if there is none, or if it cannot be read. */
  async #textOf(file: PlaceEntry | undefined): Promise<string | null> {
    if (file === undefined) return null
    const noted = this.#known?.get(file)
    if (typeof noted === 'string') return noted
    try {
      const text = (await readSmall(this.#folder.at(file.name), this.#signal)).toString()
      this.#index.set(file, text)
      return text
    } catch (error) {
      this.#signal.throwIfAborted()
      this.#options.warn?.(asVmapipeError(error).line)
      return null
    }
  }
}

function byGuestAndTime(a: CatalogEntry, b: CatalogEntry): number {
  return (
    compare(a.guest ?? '', b.guest ?? '') ||
    a.ctime - b.ctime ||
    compare(a.written ?? '', b.written ?? '') ||
    compare(a.place, b.place)
  )
}
