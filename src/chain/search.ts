/**
 * Looks for archives by their uuids, beside the last archive of a chain and at the places that the user names. Of each file only the
 * beginning is read, once. Names only decide what is looked at first, because anybody may rename a file.
 */

import { constants } from 'node:fs'
import { type FileHandle, open, opendir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Keyring } from '../codecs/age/keyring.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import { parseVolumeName } from '../storage/archive/volumes/names.ts'
import { mayBeArchive, uuidOfBeginning } from './beginning.ts'

/** Bytes of a file that are read: in an archive of ours, the header with its config files is a frame of its own. */
const BEGINNING = 64 << 10
/** Bytes that are read if those are not enough: a block of LZ4 has up to 4 MiB. */
const LONG_BEGINNING = (4 << 20) + BEGINNING
/** The most entries of a folder that are looked at, and the most whose names are not those of archives. */
const MOST_ENTRIES = 100_000
const MOST_OTHERS = 1000
/** Names of archives of ours, also compressed, encrypted or in volumes. */
const LIKELY = /\.vm[ai](\.|$)/

interface Found {
  place: string
  uuid: string
}

export interface SearchOptions {
  /** The last archive of the chain. */
  beside: string
  /** Folders and archives that are looked at first. */
  places: readonly string[]
  /** What opens archives that are encrypted. If it is not given, they are passed over. */
  keys?: Keyring | undefined
  signal?: AbortSignal | undefined
}

export class ParentSearch {
  /** The places of the archives that were seen so far, by uuid. */
  readonly #known = new Map<string, string[]>()
  readonly #rest: AsyncGenerator<Found>
  #looked = 0

  constructor(options: SearchOptions) {
    this.#rest = look(options)
  }

  /** The number of archives that were looked at. */
  get looked(): number {
    return this.#looked
  }

  /** The places of all archives with this uuid. There may be several: copies, or others that were given the same uuid. */
  async *find(uuid: string): AsyncGenerator<string> {
    yield* this.#known.get(uuid) ?? []
    for (let next = await this.#rest.next(); !next.done; next = await this.#rest.next()) {
      const found = next.value
      this.#looked++
      const same = this.#known.get(found.uuid) ?? []
      this.#known.set(found.uuid, [...same, found.place])
      if (found.uuid === uuid) yield found.place
    }
  }
}

async function* look({ beside, places, keys, signal }: SearchOptions): AsyncGenerator<Found> {
  const seen = new Set<string>()
  for (const place of [...places, ...folderOf(beside)]) {
    for await (const path of filesAt(place)) {
      signal?.throwIfAborted()
      if (seen.has(path)) continue
      seen.add(path)
      const uuid = await uuidOf(path, keys)
      if (uuid !== null) yield { place: path, uuid }
    }
  }
}

/** The folder of a file; none for an archive that is no file. */
function folderOf(place: string): string[] {
  const parsed = parsePlace(place)
  return parsed.kind === 'file' ? [dirname(parsed.path)] : []
}

/** The files at a place that the user names: the file itself, or those of a folder. */
async function* filesAt(place: string): AsyncGenerator<string> {
  const path = place.endsWith('/') ? place : pathOf(place)
  const stats = await stat(path).catch((error) => {
    throw asVmapipeError(error, { file: path })
  })
  if (!stats.isDirectory()) yield path
  else yield* filesIn(path)
}

function pathOf(place: string): string {
  const parsed = parsePlace(place)
  if (parsed.kind === 'file') return parsed.path
  throw new VmapipeError('USAGE', `parents cannot be looked for at '${place}'`, {
    hint: 'name a folder or an archive: a path',
  })
}

/** The files of a folder, those with names of archives first, the last name first: a parent is often the one before. */
async function* filesIn(folder: string): AsyncGenerator<string> {
  const likely: string[] = []
  const others: string[] = []
  let entries = 0
  const listing = await opendir(folder).catch((error) => {
    throw asVmapipeError(error, { file: folder })
  })
  for await (const entry of listing) {
    if (++entries > MOST_ENTRIES) break
    const { name } = entry
    // A link may lead to a file; whether it does is known when it is opened.
    if (!(entry.isFile() || entry.isSymbolicLink()) || name.startsWith('.')) continue
    if (name.endsWith('.idx') || (parseVolumeName(name)?.number ?? 0) > 0) continue
    if (LIKELY.test(name)) likely.push(name)
    else if (others.length < MOST_OTHERS) others.push(name)
  }
  for (const name of [...likely.sort().reverse(), ...others]) yield join(folder, name)
}

/** The uuid of the archive in this file; null for anything else, and for what cannot be read. */
async function uuidOf(path: string, keys: Keyring | undefined): Promise<string | null> {
  let file: FileHandle | null = null
  try {
    // O_NONBLOCK: opening a FIFO does not wait for its writer.
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
    const { size, ...stats } = await file.stat().then((found) => ({ size: found.size, isFile: found.isFile() }))
    if (!stats.isFile) return null
    const start = await beginning(file, BEGINNING)
    if (!mayBeArchive(start)) return null
    const uuid = await uuidOfBeginning(start, keys)
    if (uuid !== null || size <= BEGINNING) return uuid
    return await uuidOfBeginning(await beginning(file, LONG_BEGINNING), keys)
  } catch {
    return null
  } finally {
    await file?.close()
  }
}

async function beginning(file: FileHandle, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0)
  return buffer.subarray(0, bytesRead)
}
