/**
 * A disk that is read and written at once: what a running guest has. Offsets and lengths are bytes, of any alignment;
 * several calls may be in flight, and those that touch the same bytes at the same time happen in any order.
 */

import type { Upstream } from '../protocol/nbd/lasting-connection.ts'
import type { DriveExtent } from './drive.ts'

/**
 * A call's end. `undefined`: it is done already, nothing has to be waited for (bytes that were in the page cache).
 * `await` does right by both; only whoever counts microseconds looks at the difference.
 */
export type Done = Promise<void> | undefined

export interface WriteOptions {
  /** Durable before it is done. */
  fua?: boolean
}

export interface ZeroOptions extends WriteOptions {
  /** The range stays allocated: a later write cannot run out of space. */
  noHole?: boolean
  /** To be refused with ENOTSUP at once, and nothing changed, where it would take as long as writing zeroes. */
  fast?: boolean
}

export interface ReadOptions {
  /** How long to wait for a disk's server that is away, in milliseconds; for ever unless given. */
  patience?: number | undefined
}

/**
 * An error says what kind it is by the system's name for it, in `code` of itself or of a `cause`: ENOSPC, EIO, EPERM,
 * ENOTSUP...; a server tells its client that. Errors are thrown or come as rejections.
 */
export interface Disk {
  readonly size: number
  readonly readOnly: boolean
  /** Bytes of which requests had better be multiples: anything else costs the disk a read before the write. Any will do unless given. */
  readonly minBlock?: number | undefined
  /** The server that the disk is on, if there is one. While it is away requests wait. */
  readonly upstream?: Upstream | undefined
  /** Fills `buffer`, which belongs to the disk until the call is done. Less than that is an error, never a short read. */
  read(buffer: Uint8Array, offset: number, options?: ReadOptions): Done
  /** Writes the buffers one after the other; they belong to the disk until the call is done. */
  write(buffers: readonly Uint8Array[], offset: number, options?: WriteOptions): Done
  /** Makes the range read as zeroes, without writing them where that is possible. */
  zero(offset: number, length: number, options?: ZeroOptions): Done
  /** The content is not needed any more: its space is given back where that is possible. What is read there is then undefined. */
  trim(offset: number, length: number, options?: WriteOptions): Done
  /** Everything that was done before the call is durable. After it has failed once it never succeeds again. */
  flush(): Done
  /** As that of a DriveReader. */
  map(offset: number, length: number, options?: ReadOptions): AsyncIterable<DriveExtent>
  /** The same, to the cluster where data ends, for a scan beside a guest: found step by step, where `map` would hold others up. */
  survey?(offset: number, length: number): AsyncIterable<DriveExtent>
  /** Whether `map` would tell that all of the range reads as zeroes; there where it can be told faster than by `map`. */
  isHole?(offset: number, length: number): boolean | Promise<boolean>
  /** The range will be wanted soon. Who passes calls on to another disk passes on this one too. */
  prefetch?: ((offset: number, length: number) => Done) | undefined
  /** Releases everything, after what is in flight. Does not flush. May be called more than once. */
  close(): Promise<void>
}
