/**
 * Removes an archive with what is beside it. Just before that it looks again: who reads it now, who protects it now, and what archives have
 * come since the plan was made. Whatever the run is killed at, no file is taken for an archive that is not one: the file that makes it an
 * archive goes first. A mark NAME.removing, which is there before it goes and goes last, tells the next run that the rest goes too.
 */

import type { Keyring } from '../codecs/age/keyring.ts'
import { asVmapipeError } from '../core/errors.ts'
import type { ArchiveFolder } from '../storage/archive/archive-folder.ts'
import { SUFFIXES } from '../storage/archive/names.ts'
import { openPlace } from '../storage/archive/open-place.ts'
import type { PlaceEntry } from '../storage/archive/place.ts'
import { holdUnread, type Unread } from '../storage/archive/reading-lock.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import type { Catalog } from './catalog.ts'
import type { CatalogEntry } from './entry.ts'
import { type ArchiveFiles, filesOf, groupFiles } from './groups.ts'
import { readHeader } from './header.ts'
import { removeSmall, writeSmall } from './small-file.ts'

interface RemoverOptions {
  keys?: Keyring | undefined
  signal?: AbortSignal | undefined
}

export class Remover {
  readonly #folder: ArchiveFolder
  readonly #files: ReadonlyMap<string, ArchiveFiles>
  readonly #options: RemoverOptions
  /** Files that are known, as they were, with the uuid of the parent if there is one; `unknown` if that cannot be read. */
  readonly #known = new Map<string, string | null>()

  constructor({ folder, files }: Catalog, options: RemoverOptions) {
    this.#folder = folder
    this.#files = files
    this.#options = options
    for (const group of files.values()) for (const file of group.bytes) this.#known.set(identityOf(file), null)
  }

  /** Removes the archive. Resolves with the reason if it has to stay. Throws FAILED if it cannot be removed. */
  async remove(entry: CatalogEntry): Promise<string | null> {
    const planned = this.#files.get(entry.place)!
    const held = await holdAll(this.#placesOf(planned.bytes))
    if (held === null) return 'in use'
    try {
      const now = await this.#look(entry, planned)
      if (typeof now === 'string') return now
      await removeFiles(this.#folder, now)
      return null
    } finally {
      await letGo(held)
    }
  }

  /** Whether somebody reads the archive. Only files of this host have locks. */
  async isInUse(entry: CatalogEntry): Promise<boolean> {
    const held = await holdAll(this.#placesOf(this.#files.get(entry.place)!.bytes)).catch(() => [])
    if (held !== null) await letGo(held)
    return held === null
  }

  #placesOf(files: readonly PlaceEntry[]): string[] {
    return files.map(({ name }) => this.#folder.at(name))
  }

  /** The files of the archive as they are now, or why it has to stay. */
  async #look(entry: CatalogEntry, planned: ArchiveFiles): Promise<ArchiveFiles | string> {
    const { signal } = this.#options
    const beside: PlaceEntry[] = []
    for await (const file of openPlace(entry.place).list!(signal ? { signal } : {})) {
      beside.push({ ...file, name: planned.folder + file.name })
    }
    const groups = groupFiles(beside)
    const now = groups.find(({ archive }) => archive === planned.archive)
    if (now === undefined || now.first === null) return 'it is gone already'
    if (identityOf(now.first) !== identityOf(planned.first!)) return 'it was replaced meanwhile'
    if (now.beside.has(SUFFIXES.protection)) return 'protected'
    for (const other of groups) {
      if (other.first === null || other === now) continue
      const parent = await this.#parentOf(other.first)
      if (parent === entry.uuid) return `parent of '${other.archive}'`
      if (parent === UNKNOWN) return `'${other.archive}' cannot be read, and may need it`
    }
    return now
  }

  /** The parent of an archive that has come since the plan was made; null if it was there, as the plan heeds those. */
  async #parentOf(file: PlaceEntry): Promise<string | null> {
    const id = identityOf(file)
    const known = this.#known.get(id)
    if (known !== undefined) return known
    const signal = this.#options.signal ?? new AbortController().signal
    const header = await readHeader(this.#folder.at(file.name), { keys: this.#options.keys, signal })
    const isFull = 'unreadable' in header && /\.vma(\.|$)/.test(file.name)
    const parent = 'unreadable' in header ? (isFull ? null : UNKNOWN) : header.parent
    if (parent !== UNKNOWN) this.#known.set(id, parent)
    return parent
  }
}

const UNKNOWN = 'unknown'

function identityOf({ name, size, modified }: PlaceEntry): string {
  return `${name}\0${size}\0${modified}`
}

/** Removes the files of an archive, or those that are left of one. */
export async function removeFiles(folder: ArchiveFolder, files: ArchiveFiles): Promise<void> {
  const all = filesOf(files)
  const mark = folder.at(`${files.folder}${files.archive}.${SUFFIXES.removal}`)
  const hasMark = files.beside.has(SUFFIXES.removal)
  // One file goes at once, or not at all.
  const needsMark = all.length > 1 && !hasMark
  if (needsMark) await writeSmall(mark, '')
  for (const [index, { name }] of all.entries()) {
    if (name.endsWith(`.${SUFFIXES.removal}`)) continue
    try {
      await removeSmall(folder.at(name))
    } catch (error) {
      // Nothing is gone yet, so nothing is being removed.
      if (index === 0 && needsMark) await removeSmall(mark).catch(() => {})
      throw asVmapipeError(error, { file: folder.at(name) })
    }
  }
  if (needsMark || hasMark) await removeSmall(mark)
}

/** Holds the files so that nobody begins to read them; null if somebody reads one. */
async function holdAll(places: readonly string[]): Promise<Unread[] | null> {
  const held: Unread[] = []
  try {
    for (const place of places) {
      const parsed = parsePlace(place)
      if (parsed.kind !== 'file') continue
      const one = await holdUnread(parsed.path)
      if (one === null) {
        await letGo(held)
        return null
      }
      held.push(one)
    }
    return held
  } catch (error) {
    await letGo(held)
    // Another run has removed it: there is nothing to hold.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw asVmapipeError(error)
  }
}

async function letGo(held: readonly Unread[]): Promise<void> {
  for (const one of held) await one.release().catch(() => {})
}
