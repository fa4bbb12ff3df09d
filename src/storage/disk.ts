/**
 * A disk that is read and written at once, as a running guest has it. Offsets and lengths are bytes of any alignment. Several calls
 * may be in flight. Those on the same bytes at the same time happen in any order.
 */

import type { Upstream } from '../protocol/nbd/lasting-connection.ts'
import type { DriveExtent } from './drive.ts'

/**
 * The end of a call. `undefined` means that it is done already, such as a read from the page cache. `await` takes both. Only code
 * that counts microseconds looks at the difference.
 */
export type Done = Promise<void> | undefined

/** How a disk is written. */
export interface WriteOptions {
  /** The change is durable when the call is done. */
  fua?: boolean
}

/** How zeroes are written. */
export interface ZeroOptions extends WriteOptions {
  /** The range stays allocated, so that a later write cannot run out of space. */
  noHole?: boolean
  /** Fails at once with ENOTSUP, and changes nothing, if it would take as long as writing zeroes. */
  fast?: boolean
}

/** How a disk is read. */
export interface ReadOptions {
  /** Milliseconds to wait for a server of the disk that is away; for ever by default. */
  patience?: number | undefined
}

/** The file that a disk is, and its times. Numbers as text, because they do not fit into those of JSON. */
export interface DiskIdentity {
  device: string
  inode: string
  size: string
  /** Last modification and last change, in nanoseconds since the epoch. */
  mtime: string
  ctime: string
}

/**
 * An error has the system's name for its kind (ENOSPC, EIO, EPERM, ENOTSUP, …) in its own `code` or in that of a `cause`. A server
 * passes it on to its client. Errors are thrown, or they reject the promise.
 */
export interface Disk {
  readonly size: number
  readonly readOnly: boolean
  /** Writes of multiples of this many bytes are faster: before others the disk must read. By default all are the same. */
  readonly minBlock?: number | undefined
  /** The connection to the server of the disk, if there is one. While the server is away requests wait. */
  readonly upstream?: Upstream | undefined
  /** Fills `buffer`, which must not be used until the call is done. There are no short reads: it fails if there are fewer bytes. */
  read(buffer: Uint8Array, offset: number, options?: ReadOptions): Done
  /** Writes the buffers one after the other. They must not be changed until the call is done. */
  write(buffers: readonly Uint8Array[], offset: number, options?: WriteOptions): Done
  /** Makes the range read as zeroes, without writing them if possible. */
  zero(offset: number, length: number, options?: ZeroOptions): Done
  /** Gives the space of the range back, if possible, as its content is not needed any more. What is read there then is undefined. */
  trim(offset: number, length: number, options?: WriteOptions): Done
  /** Makes all changes durable that were done before the call. Once it has failed, it always fails. */
  flush(): Done
  /** As `map` of a DriveReader. */
  map(offset: number, length: number, options?: ReadOptions): AsyncIterable<DriveExtent>
  /** The same for a scan beside a guest, which `map` would hold up. Looks for the end of data step by step, to whole clusters. */
  survey?(offset: number, length: number): AsyncIterable<DriveExtent>
  /** Whether all of the range is known to read as zeroes. Only on disks that can tell it faster than `map`. */
  isHole?(offset: number, length: number): boolean | Promise<boolean>
  /** Only if every write by anybody sets the times: of a file on a local filesystem. */
  identity?(): Promise<DiskIdentity | null>
  /** Tells that the range will be read soon. A disk over another disk passes this on. */
  prefetch?: ((offset: number, length: number) => Done) | undefined
  /** Waits for calls in flight and releases everything. Does not flush. May be called more than once. */
  close(): Promise<void>
}
