/** What a server offers to its clients: disks under names. */

import { VmapipeError } from '../../../core/errors.ts'
import * as nbd from '../constants.ts'

/** `undefined`: done already. */
export type Done = Promise<void> | undefined

/** `since`: when the request was known, in milliseconds of `performance.now()`, if it has waited since. */
export interface ChangeOptions {
  fua?: boolean
  since?: number
}

/** A write that comes in pieces, as its payload is long. */
export interface LongWrite {
  write(buffers: readonly Uint8Array[], offset: number, options?: ChangeOptions): Done
  /** No more pieces come, and all are done. */
  end(): void
}

/**
 * What the server wants of a disk. Offsets and lengths are bytes and lie within `size`; many calls are in flight.
 * An error's kind is the system's name for it, in its `code` or that of a `cause`.
 */
export interface ServedDisk {
  readonly size: number
  readonly readOnly: boolean
  /** Bytes of which requests had better be multiples; any will do unless given. */
  readonly minBlock?: number | undefined
  read(buffer: Uint8Array, offset: number): Done
  write(buffers: readonly Uint8Array[], offset: number, options?: ChangeOptions): Done
  zero(offset: number, length: number, options?: ChangeOptions & { noHole?: boolean; fast?: boolean }): Done
  trim(offset: number, length: number, options?: ChangeOptions): Done
  flush(): Done
  map(offset: number, length: number): AsyncIterable<{ offset: number; length: number; zero: boolean }>
  /** Bytes that will be wanted soon. */
  prefetch?: ((offset: number, length: number) => Done) | undefined
  /** A write that comes in pieces begins; to be asked only if the disk wants to know which pieces belong together. */
  beginWrite?(offset: number, length: number): LongWrite
  /** Whether changes wait in it for something that is not the disk, such as a backup. */
  readonly isHolding?: boolean
  /** A change waits to be taken in while the disk holds others; the result is to be called when it goes on. Undefined if it holds none. */
  queued?(since: number | undefined): (() => void) | undefined
}

export interface NbdExport {
  /** At most 4096 bytes; the empty name is the default export. */
  name: string
  /** A line for people. */
  description?: string
  disk: ServedDisk
  /** Writes are refused, also where the disk would take them. */
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

  /** Each disk once, under however many names it is offered. */
  get disks(): Set<ServedDisk> {
    return new Set([...this.#byName.values()].map(({ disk }) => disk))
  }
}

export function isReadOnly({ disk, readOnly = false }: NbdExport): boolean {
  return readOnly || disk.readOnly
}

/**
 * "Transmission flags". Several connections may be used as one: they share the disk, whose flush makes durable what
 * was written over any of them.
 */
export function transmissionFlags(entry: NbdExport, structured: boolean): number {
  const chunks = structured ? nbd.FLAG_SEND_DF : 0
  const cache = entry.disk.prefetch ? nbd.FLAG_SEND_CACHE : 0
  const always = nbd.FLAG_HAS_FLAGS | nbd.FLAG_SEND_FLUSH | nbd.FLAG_CAN_MULTI_CONN | chunks | cache
  if (isReadOnly(entry)) return always | nbd.FLAG_READ_ONLY
  const writes = nbd.FLAG_SEND_FUA | nbd.FLAG_SEND_TRIM | nbd.FLAG_SEND_WRITE_ZEROES | nbd.FLAG_SEND_FAST_ZERO
  return always | writes
}

/** Extents of one reply: a client asks again for what follows. */
const MAX_EXTENTS = 4096

/**
 * The answer to BLOCK_STATUS ("base:allocation metadata context"): length and flags of adjacent extents from `offset`,
 * in pairs. At least one, together `length` bytes at most; a single one where the client wants no more.
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
