/** The exports of a server: disks under names. */

import { VmapipeError } from '../../../core/errors.ts'
import * as nbd from '../constants.ts'

/** `undefined` means that it is done already. */
export type Done = Promise<void> | undefined

/** `since`: when the request was known, in milliseconds of `performance.now()`, if it has waited since. */
export interface ChangeOptions {
  fua?: boolean
  since?: number
}

/** A write that comes in pieces, as its payload is long. */
export interface LongWrite {
  write(buffers: readonly Uint8Array[], offset: number, options?: ChangeOptions): Done
  /** Ends the write: all pieces are done, and no more come. */
  end(): void
}

/**
 * The disk that a server serves. Offsets and lengths are bytes and within `size`. Many calls are in flight. An error has the
 * system's name for its kind (ENOSPC, EIO, …) in its own `code` or in that of a `cause`.
 */
export interface ServedDisk {
  readonly size: number
  readonly readOnly: boolean
  /** Requests of multiples of this many bytes are faster. By default all are the same. */
  readonly minBlock?: number | undefined
  read(buffer: Uint8Array, offset: number): Done
  write(buffers: readonly Uint8Array[], offset: number, options?: ChangeOptions): Done
  zero(offset: number, length: number, options?: ChangeOptions & { noHole?: boolean; fast?: boolean }): Done
  trim(offset: number, length: number, options?: ChangeOptions): Done
  flush(): Done
  map(offset: number, length: number): AsyncIterable<{ offset: number; length: number; zero: boolean }>
  /** Tells that these bytes will be read soon. */
  prefetch?: ((offset: number, length: number) => Done) | undefined
  /** Begins a write that comes in pieces. Only for a disk that must know which pieces belong together. */
  beginWrite?(offset: number, length: number): LongWrite
  /** Whether changes wait for something else than the disk, such as a backup. */
  readonly isHolding?: boolean
  /** Notes that a change waits to be read while the disk holds others. Call the result when it continues. Undefined if it holds none. */
  queued?(since: number | undefined): (() => void) | undefined
}

export interface NbdExport {
  /** At most 4096 bytes. The empty name is the default export. */
  name: string
  /** One line for people. */
  description?: string
  disk: ServedDisk
  /** Writes are refused even if the disk would take them. */
  readOnly?: boolean
}

/** The exports of a server, by name. A server's only export is its default as well. */
export class Exports {
  readonly #byName = new Map<string, NbdExport>()

  constructor(list: readonly NbdExport[]) {
    for (const entry of list) {
      const { name, description = '' } = entry
      for (const text of [name, description]) {
        if (Buffer.byteLength(text) > nbd.MAX_STRING || text.includes('\0')) {
          throw new VmapipeError('USAGE', `'${text}' cannot be the name or description of an NBD export`)
        }
      }
      if (this.#byName.has(name)) throw new VmapipeError('USAGE', `two NBD exports with the name '${name}'`)
      this.#byName.set(name, entry)
    }
  }

  find(name: string): NbdExport | undefined {
    const found = this.#byName.get(name)
    if (found || name !== '' || this.#byName.size !== 1) return found
    return this.#byName.values().next().value
  }

  *[Symbol.iterator](): Iterator<NbdExport> {
    yield* this.#byName.values()
  }

  /** Each disk once, even if it has several names. */
  get disks(): Set<ServedDisk> {
    return new Set([...this.#byName.values()].map(({ disk }) => disk))
  }
}

export function isReadOnly({ disk, readOnly = false }: NbdExport): boolean {
  return readOnly || disk.readOnly
}

/**
 * "Transmission flags". A client may use several connections as one, because they share the disk: a flush over any of them covers
 * the writes over all.
 */
export function transmissionFlags(entry: NbdExport, structured: boolean): number {
  const chunks = structured ? nbd.FLAG_SEND_DF : 0
  const cache = entry.disk.prefetch ? nbd.FLAG_SEND_CACHE : 0
  const always = nbd.FLAG_HAS_FLAGS | nbd.FLAG_SEND_FLUSH | nbd.FLAG_CAN_MULTI_CONN | chunks | cache
  if (isReadOnly(entry)) return always | nbd.FLAG_READ_ONLY
  const writes = nbd.FLAG_SEND_FUA | nbd.FLAG_SEND_TRIM | nbd.FLAG_SEND_WRITE_ZEROES | nbd.FLAG_SEND_FAST_ZERO
  return always | writes
}

/** The most extents of one reply. A client asks again for what follows. */
const MAX_EXTENTS = 4096

/**
 * The answer to BLOCK_STATUS ("base:allocation metadata context"): length and flags of adjacent extents from `offset`,
 * in pairs. At least one, and at most `length` bytes together. A single one if the client asks for one only.
 */
export async function describeRange(disk: ServedDisk, offset: number, length: number, one: boolean): Promise<number[]> {
  const pairs: number[] = []
  const most = one ? 1 : MAX_EXTENTS
  for await (const extent of disk.map(offset, length)) {
    const flags = extent.zero ? nbd.STATE_HOLE | nbd.STATE_ZERO : 0
    if (pairs.at(-1) === flags) pairs[pairs.length - 2] += extent.length
    else if (pairs.length < 2 * most) pairs.push(extent.length, flags)
    else break
  }
  return pairs
}
