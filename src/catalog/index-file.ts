/**
 * The index of a place: what was read of the files there, so that the next listing reads only what is new. It is a file in the user's
 * folder for caches and may be lost at any time. An entry counts only while the file has the same name, size and last-modified time. A
 * damaged index is made anew. Runs at the same time are safe: the file is replaced as a whole, and the last one wins.
 *
 *   {"vmapipe":"catalog","version":1,"place":"/srv/backup"}
 *   ["web01/web01-2026-11-28T213500Z.vma.zst",1234,"2026-11-28T21:35:09.000Z",{…}]
 *   {"entries":1,"crc":"93a1bb02"}                                              CRC-32 of all bytes before
 */

import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { PlaceEntry } from '../storage/archive/place.ts'
import { makeFolder } from '../storage/folder.ts'
import { PartialFile } from '../storage/partial-file.ts'
import { writeAll } from '../system/write-all.ts'

/** A larger file is not read: 100,000 archives have 40 MB. */
const MOST_BYTES = 256 << 20

/** Milliseconds that a file must have been left alone before it is noted. The time of a file that changes twice in a moment stays the same. */
const SETTLED_MS = 5000

/** A value of JSON. */
type Value = unknown

interface Noted {
  size: number
  modified: string
  value: Value
}

export class CatalogIndex {
  readonly #place: string
  readonly #path: string
  readonly #before: ReadonlyMap<string, Noted>
  readonly #now = new Map<string, Noted>()
  #isChanged = false

  private constructor(place: string, path: string, before: ReadonlyMap<string, Noted>) {
    this.#place = place
    this.#path = path
    this.#before = before
  }

  /** Opens the index of the place with this identity. Never fails: an index that cannot be read is empty. */
  static async open(place: string): Promise<CatalogIndex> {
    const path = pathOfIndex(place)
    const before = await readIndex(path, place).catch(() => null)
    return new CatalogIndex(place, path, before ?? new Map())
  }

  /** What was noted of this file; undefined if it is new or has changed. */
  get({ name, size, modified }: PlaceEntry): Value {
    const noted = this.#before.get(name)
    if (noted === undefined || noted.size !== size || noted.modified !== modified) return undefined
    this.#now.set(name, noted)
    return noted.value
  }

  /** Notes a value of JSON for this file. */
  set({ name, size, modified }: PlaceEntry, value: Value): void {
    const age = modified === null ? Number.NaN : Date.now() - Date.parse(modified)
    // A time in the future is that of another clock, and says nothing about how long the file has been left alone.
    if (modified === null || !(age > SETTLED_MS)) return
    this.#now.set(name, { size, modified, value })
    this.#isChanged = true
  }

  /** Writes what was looked up and noted. What nobody asked for is forgotten. Resolves with the reason if it could not be written. */
  async save(): Promise<string | null> {
    if (!this.#isChanged && this.#now.size === this.#before.size) return null
    try {
      await makeFolder(dirname(this.#path))
      const file = await PartialFile.create(this.#path, {}, { lastWins: true })
      try {
        await writeAll(file.handle, [Buffer.from(formatIndex(this.#place, this.#now))], 0)
        await file.publish()
      } finally {
        await file.close()
      }
      return null
    } catch (error) {
      return (error as Error).message
    }
  }
}

/** The file of a place's index. */
export function pathOfIndex(place: string): string {
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'vmapipe')
  return join(cache, `catalog-${createHash('sha256').update(place).digest('hex').slice(0, 32)}.jsonl`)
}

/** Loses the index of a place. */
export async function removeIndex(place: string): Promise<void> {
  await rm(pathOfIndex(place), { force: true })
}

function firstLine(place: string): string {
  return `${JSON.stringify({ vmapipe: 'catalog', version: 1, place })}\n`
}

function formatIndex(place: string, noted: ReadonlyMap<string, Noted>): string {
  const lines = [firstLine(place)]
  for (const [name, { size, modified, value }] of noted)
    lines.push(`${JSON.stringify([name, size, modified, value])}\n`)
  const text = lines.join('')
  return `${text}${JSON.stringify({ entries: noted.size, crc: hex(crc32(text)) })}\n`
}

/** Null if there is none, or if it is not whole, not ours or of another place. */
async function readIndex(path: string, place: string): Promise<Map<string, Noted> | null> {
  // O_NONBLOCK: opening a FIFO does not wait for its writer.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW)
  try {
    const stats = await file.stat()
    // What others may write is not trusted: retention goes by it.
    const isOurs = process.getuid === undefined || (stats.uid === process.getuid() && (stats.mode & 0o022) === 0)
    if (!stats.isFile() || !isOurs || stats.size > MOST_BYTES) return null
    return parseIndex((await file.readFile()).toString(), place)
  } finally {
    await file.close()
  }
}

function parseIndex(text: string, place: string): Map<string, Noted> | null {
  const at = text.lastIndexOf('\n', text.length - 2) + 1
  const body = text.slice(0, at)
  const end = JSON.parse(text.slice(at)) as { entries?: unknown; crc?: unknown }
  if (!body.startsWith(firstLine(place)) || end.crc !== hex(crc32(body))) return null
  const noted = new Map<string, Noted>()
  for (const line of body.slice(firstLine(place).length).split('\n')) {
    if (line === '') continue
    const [name, size, modified, value] = JSON.parse(line) as unknown[]
    if (typeof name !== 'string' || typeof size !== 'number' || typeof modified !== 'string') return null
    noted.set(name, { size, modified, value })
  }
  return noted.size === end.entries ? noted : null
}

function hex(number: number): string {
  return number.toString(16).padStart(8, '0')
}
