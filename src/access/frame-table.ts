/**
 * Finds the place of each frame of a compressed archive, and the place of its content in the archive's stream. Only a directory of
 * the map and some of its pages are in memory: a few MiB for any number of frames.
 */

import { crc32 } from 'node:zlib'
import { LRUCache } from 'lru-cache'
import { VmapipeError } from '../core/errors.ts'
import { Turns } from '../core/turns.ts'
import { decodeFooter, TAIL_SIZE } from '../formats/frame-map/frame-map.ts'
import { VarintReader } from '../formats/varint.ts'
import type { ArchiveBytes } from '../storage/archive/archive-bytes.ts'
import { type MapBytes, MapInFile, mapInMemory } from './map-bytes.ts'

/** Pages of the map in the directory. If there are more, pairs of them are joined. */
const MOST_PAGES = 16384
const LEAST_FRAMES = 64
/** Frames whose pages are kept in memory. Each takes 17 bytes, so all take 4.25 MiB. */
const KEPT_FRAMES = 1 << 18
const PIECE = 256 << 10
/** The longest entry of the map: two numbers of at most 8 bytes. */
const LONGEST_ENTRY = 16
/** The smallest frame of any compression, in bytes. */
const SMALLEST_FRAME = 8

export interface Place {
  frame: number
  /** The place of the frame in the file, and its bytes. */
  start: number
  bytes: number
  /** The place of its content in the stream, and the bytes of the content. */
  content: number
  contentBytes: number
}

/** Frames that follow each other. */
interface Page {
  first: number
  /** Both have one number more than there are frames: the end of the last one. */
  starts: Float64Array
  contents: Float64Array
  /** 1 for frames whose content is known to be as long as the map says. */
  agreed: Uint8Array
}

interface TableOptions {
  /** The bytes of all frames in the file: exactly this number, or at most. */
  total: { exactly: number } | { most: number }
  checksum?: number
  signal?: AbortSignal | undefined
}

export class FrameTable {
  readonly map: MapBytes
  readonly #directory: Directory
  readonly #kept: LRUCache<number, Page>
  readonly #loading = new Map<number, Promise<Page>>()

  private constructor(map: MapBytes, directory: Directory) {
    this.map = map
    this.#directory = directory
    this.#kept = new LRUCache({ max: Math.max(4, Math.floor(KEPT_FRAMES / directory.pageFrames)) })
  }

  /** Reads the whole map once. Throws DAMAGED if it is wrong. */
  static async read(map: MapBytes, options: TableOptions): Promise<FrameTable> {
    return new FrameTable(map, await readDirectory(map, options))
  }

  /** The frames of a map that was made of a file of `fileSize` bytes, and is in memory. Throws DAMAGED if it is wrong. */
  static inMemory(map: Buffer, fileSize: number, signal?: AbortSignal): Promise<FrameTable> {
    return FrameTable.read(mapInMemory(map), { total: { most: fileSize }, signal })
  }

  get frames(): number {
    return this.#directory.frames
  }

  get contentBytes(): number {
    return this.#directory.contentBytes
  }

  /** The most bytes of a frame with content, and the most content of a frame. */
  get largest(): Readonly<{ bytes: number; contentBytes: number }> {
    return this.#directory.largest
  }

  /** The frame with this byte of the stream. The byte must be within the stream. */
  async at(offset: number): Promise<Place> {
    const number = this.#directory.pageAt(offset)
    return placeIn(await this.#page(number), offset)
  }

  /** The same if it is known without reading. Otherwise null, and its page is loaded. */
  peek(offset: number): Place | null {
    const number = this.#directory.pageAt(offset)
    const page = this.#kept.get(number)
    if (page !== undefined) return placeIn(page, offset)
    this.#page(number).catch(() => {})
    return null
  }

  /** Records that a frame's content is as long as the map says. It is forgotten with the frame's page. */
  agree({ frame }: Place): void {
    const page = this.#kept.peek(Math.floor(frame / this.#directory.pageFrames))
    if (page !== undefined) page.agreed[frame - page.first] = 1
  }

  /** The frames from byte `from` of the stream up to, but without, the frame with byte `to`, as far as they are not known to agree. */
  async *doubtful(from: number, to: number): AsyncGenerator<Place> {
    const end = this.#directory.pageAt(to)
    for (let number = this.#directory.pageAt(from); number <= end; number++) {
      const page = this.#kept.get(number) ?? (await this.#page(number))
      const last = number === end ? indexIn(page, to) : page.agreed.length
      const first = number === this.#directory.pageAt(from) ? indexIn(page, from) : 0
      for (let index = first; index < last; index++) if (page.agreed[index] === 0) yield placeOf(page, index)
    }
  }

  async #page(number: number): Promise<Page> {
    const kept = this.#kept.get(number)
    if (kept !== undefined) return kept
    const loading = this.#loading.get(number) ?? this.#load(number).finally(() => this.#loading.delete(number))
    this.#loading.set(number, loading)
    return loading
  }

  async #load(number: number): Promise<Page> {
    const { begin, end, first, start, content, frames } = this.#directory.entry(number, this.map.size)
    const reader = new VarintReader(await this.map.read(begin, end - begin))
    const [starts, contents] = [new Float64Array(frames + 1), new Float64Array(frames + 1)]
    starts[0] = start
    contents[0] = content
    for (let index = 0; index < frames; index++) {
      starts[index + 1] = starts[index] + reader.next()
      contents[index + 1] = contents[index] + reader.next()
    }
    const page = { first, starts, contents, agreed: new Uint8Array(frames) }
    this.#kept.set(number, page)
    return page
  }
}

function placeIn(page: Page, offset: number): Place {
  return placeOf(page, indexIn(page, offset))
}

function placeOf({ first, starts, contents }: Page, index: number): Place {
  return {
    frame: first + index,
    start: starts[index],
    bytes: starts[index + 1] - starts[index],
    content: contents[index],
    contentBytes: contents[index + 1] - contents[index],
  }
}

function indexIn({ contents }: Page, offset: number): number {
  return lastUpTo(contents, contents.length - 1, offset)
}

/** The index of the last number that is not larger than `value`, or 0. Only the first `count` numbers count, and they must rise. */
function lastUpTo(numbers: Float64Array, count: number, value: number): number {
  let low = 0
  let high = count
  while (high - low > 1) {
    const middle = (low + high) >>> 1
    if (numbers[middle] <= value) low = middle
    else high = middle
  }
  return low
}

/** The place of each page in the map, and its first frame and content. */
class Directory {
  frames = 0
  bytes = 0
  contentBytes = 0
  readonly largest = { bytes: 0, contentBytes: 0 }
  pageFrames = LEAST_FRAMES
  #pages = 0
  readonly #begins = new Float64Array(MOST_PAGES)
  readonly #starts = new Float64Array(MOST_PAGES)
  readonly #contents = new Float64Array(MOST_PAGES)

  /** Adds the next frame, whose entry is at byte `at` of the map. */
  add(at: number, bytes: number, contentBytes: number): void {
    if (this.frames % this.pageFrames === 0) this.#begin(at)
    this.frames++
    this.bytes += bytes
    this.contentBytes += contentBytes
    if (contentBytes > 0) this.largest.bytes = Math.max(this.largest.bytes, bytes)
    this.largest.contentBytes = Math.max(this.largest.contentBytes, contentBytes)
  }

  #begin(at: number): void {
    if (this.#pages === MOST_PAGES) {
      for (const numbers of [this.#begins, this.#starts, this.#contents])
        for (let page = 0; page < MOST_PAGES / 2; page++) numbers[page] = numbers[page * 2]
      this.#pages /= 2
      this.pageFrames *= 2
      if (this.frames % this.pageFrames !== 0) return
    }
    this.#begins[this.#pages] = at
    this.#starts[this.#pages] = this.bytes
    this.#contents[this.#pages++] = this.contentBytes
  }

  pageAt(offset: number): number {
    return lastUpTo(this.#contents, this.#pages, offset)
  }

  entry(page: number, mapBytes: number) {
    const first = page * this.pageFrames
    return {
      begin: this.#begins[page],
      end: page + 1 < this.#pages ? this.#begins[page + 1] : mapBytes,
      first,
      start: this.#starts[page],
      content: this.#contents[page],
      frames: Math.min(this.pageFrames, this.frames - first),
    }
  }
}

async function readDirectory(map: MapBytes, { total, checksum, signal }: TableOptions): Promise<Directory> {
  const directory = new Directory()
  const turns = new Turns()
  let count = -1
  let digest = 0
  for (let at = 0; at < map.size; ) {
    signal?.throwIfAborted()
    await turns.take()
    const piece = await map.read(at, Math.min(PIECE, map.size - at))
    const isLast = at + piece.length === map.size
    const reader = new VarintReader(piece)
    if (count < 0) count = reader.next()
    while (isLast ? !reader.isAtEnd : reader.position + LONGEST_ENTRY <= piece.length) {
      const entry = at + reader.position
      const bytes = reader.next()
      if (bytes < SMALLEST_FRAME) throw damaged(`has a frame of ${bytes} bytes`)
      directory.add(entry, bytes, reader.next())
    }
    if (checksum !== undefined) digest = crc32(piece.subarray(0, reader.position), digest)
    at += reader.position
  }
  const { frames, bytes, contentBytes } = directory
  const fits = 'exactly' in total ? bytes === total.exactly : bytes <= total.most
  if (checksum !== undefined && digest !== checksum) throw damaged('is damaged')
  if (frames !== count || !fits || !Number.isSafeInteger(contentBytes)) throw damaged('does not add up')
  return directory
}

function damaged(what: string): VmapipeError {
  return new VmapipeError('DAMAGED', `the map of the archive's frames ${what}`)
}

/** Reads the map at the end of the archive; null if there is none. Throws DAMAGED if it is wrong. */
export async function readFrameTable(file: ArchiveBytes, signal?: AbortSignal): Promise<FrameTable | null> {
  const tail = Buffer.allocUnsafe(Math.min(TAIL_SIZE, file.size))
  await file.read(tail, file.size - tail.length)
  const footer = decodeFooter(tail)
  if (footer === null) return null
  const { frameBytes, wrappedBytes, length, mapChecksum } = footer
  if (frameBytes + wrappedBytes + length !== file.size)
    throw new VmapipeError('DAMAGED', 'the map of its frames does not fit into the file', {
      offset: file.size - length,
    })
  const options = { total: { exactly: frameBytes }, checksum: mapChecksum, signal }
  return FrameTable.read(new MapInFile(file, footer), options)
}
