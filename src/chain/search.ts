/**
 * Looks for archives by their uuids, beside the last archive of a chain and at the places that the user names. Of each file only the
 * beginning is read, once. Names only decide what is looked at first, because anybody may rename a file.
 */

import { constants } from 'node:fs'
import { type FileHandle, open, opendir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Keyring } from '../codecs/age/keyring.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { openFarFile } from '../storage/archive/far-file.ts'
import { mayBeginArchive, parseArchiveName } from '../storage/archive/names.ts'
import { openPlace } from '../storage/archive/open-place.ts'
import { parsePlace } from '../storage/archive/spec.ts'
import { parseVolumeName } from '../storage/archive/volumes/names.ts'
import { BEGINNING, mayBeArchive, uuidOfBeginning } from './beginning.ts'

/** Bytes that are read if BEGINNING is not enough: a block of LZ4 has up to 4 MiB. */
const LONG_BEGINNING = (4 << 20) + BEGINNING
/** The most entries of a folder that are looked at, and the most whose names are not those of archives. */
const MOST_ENTRIES = 100_000
const MOST_OTHERS = 1000

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

async function* look({ beside: last, places, keys, signal }: SearchOptions): AsyncGenerator<Found> {
  const seen = new Set<string>()
  for (const archives of [...places.map(archivesAt), beside(last)]) {
    for await (const place of archives) {
      signal?.throwIfAborted()
      if (seen.has(place)) continue
      seen.add(place)
      const uuid = await uuidOf(place, keys, signal)
      if (uuid !== null) yield { place, uuid }
    }
  }
}

/** The places with names beside the archive that may be archives, if its place can list them. */
async function* beside(place: string): AsyncGenerator<string> {
  const parsed = parsePlace(place)
  if (parsed.kind === 'file') return yield* filesIn(dirname(parsed.path))
  const { list } = openPlace(place)
  if (list === undefined) return
  const folder = place.slice(0, place.lastIndexOf('/') + 1)
  const names: string[] = []
  let entries = 0
  for await (const { name } of list()) {
    if (++entries > MOST_ENTRIES) break
    // Looking into a file of another machine takes a round trip or more, so names decide there.
    if (mayBeginArchive(name)) names.push(name)
  }
  // A name of an object is taken as it is written; in a name for ssh, % begins an escape.
  for (const name of names.sort().reverse()) yield `${folder}${parsed.kind === 'ssh' ? encodeURIComponent(name) : name}`
}

/** The archives at a place that the user names: the archive itself, or those of a folder. */
async function* archivesAt(place: string): AsyncGenerator<string> {
  const isFolder = place.endsWith('/')
  const parsed = parsePlace(isFolder ? `${place}x` : place)
  if (parsed.kind === 'stdio' || parsed.kind === 'exec')
    throw new VmapipeError('USAGE', `parents cannot be looked for at '${place}'`, {
      hint: 'name a folder or an archive: a path, ssh://host/folder/ or s3://bucket/prefix/',
    })
  if (parsed.kind !== 'file') {
    if (isFolder) yield* beside(`${place}x`)
    else yield place
    return
  }
  const stats = await stat(place).catch((error) => {
    throw asVmapipeError(error, { file: place })
  })
  if (!stats.isDirectory()) yield place
  else yield* filesIn(place)
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
    if (mayBeginArchive(name)) likely.push(name)
    else if (mayBeOther(name) && others.length < MOST_OTHERS) others.push(name)
  }
  for (const name of [...likely.sort().reverse(), ...others]) yield join(folder, name)
}

/** Whether an archive with a name of its own may begin in this file: it is no later volume, and nothing beside an archive. */
function mayBeOther(name: string): boolean {
  return parseArchiveName(name) === null && !name.endsWith('.idx') && (parseVolumeName(name)?.number ?? 0) === 0
}

/** The uuid of the archive at a place; null for anything else, and for what cannot be read. */
async function uuidOf(
  place: string,
  keys: Keyring | undefined,
  signal: AbortSignal | undefined,
): Promise<string | null> {
  let bytes: Beginning | null = null
  try {
    bytes = await openBeginning(place, signal)
    if (bytes === null) return null
    const start = await bytes.read(BEGINNING)
    if (!mayBeArchive(start)) return null
    const uuid = await uuidOfBeginning(start, keys)
    if (uuid !== null || start.length < BEGINNING) return uuid
    return await uuidOfBeginning(await bytes.read(LONG_BEGINNING), keys)
  } catch {
    signal?.throwIfAborted()
    return null
  } finally {
    await bytes?.close()
  }
}

/** A file whose first bytes can be read. */
interface Beginning {
  read(length: number): Promise<Buffer>
  close(): Promise<void>
}

/** Null if that is no file. */
async function openBeginning(place: string, signal: AbortSignal | undefined): Promise<Beginning | null> {
  const parsed = parsePlace(place)
  if (parsed.kind !== 'file') {
    if (parsed.kind !== 'ssh' && parsed.kind !== 's3') return null
    // Of an archive in volumes, the first has the beginning.
    const bytes = await openFarFile(parsed, signal ? { signal } : {})
    const read = async (length: number) => {
      const start = Buffer.alloc(Math.min(length, bytes.size))
      await bytes.read(start, 0)
      return start
    }
    return { read, close: () => bytes.close() }
  }
  // O_NONBLOCK: opening a FIFO does not wait for its writer.
  const file = await open(parsed.path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
  const close = () => file.close()
  if ((await file.stat()).isFile()) return { read: (length) => beginning(file, length), close }
  await close()
  return null
}

async function beginning(file: FileHandle, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, 0)
  return buffer.subarray(0, bytesRead)
}
