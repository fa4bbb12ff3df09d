/**
 * What flows between stages. An item belongs to whoever holds it: a stage passes it on or releases it, once.
 *
 *   clusters   a Manifest, then Runs in any order, each cluster of each drive once
 *   ranges     the Manifest, then Ranges: the same, undone to bytes of drives
 *   bytes      Chunks; from the framer, a chunk is the header, an extent, or extents that store nothing
 */

import type { Lease } from './budget.ts'
import type { VmapipeError } from './errors.ts'

export interface DriveInfo {
  /** dev_id of the archive: 1 to 254. */
  id: number
  name: string
  /** Bytes; not necessarily a multiple of anything. */
  size: number
}

export interface ConfigFile {
  name: string
  data: Uint8Array
}

/** What the archive is about; the first item of a stream of clusters or ranges. */
export class Manifest {
  readonly kind = 'manifest'
  readonly byteLength = 1024
  readonly uuid: Uint8Array
  /** Seconds since the epoch. */
  readonly ctime: number
  readonly configs: ConfigFile[]
  readonly drives: DriveInfo[]

  constructor({ uuid, ctime, configs, drives }: Pick<Manifest, 'uuid' | 'ctime' | 'configs' | 'drives'>) {
    this.uuid = uuid
    this.ctime = ctime
    this.configs = configs
    this.drives = drives
  }

  release(): void {}
}

/** What a run without data counts for: about its own memory, so that many of them are bounded too. */
export const EMPTY_RUN_BYTES = 512

/**
 * Consecutive clusters of one drive.
 *
 * `blocks` holds their stored 4 KiB blocks one after the other, in as few views as possible. `masks` has a 16-bit
 * mask a cluster that says which blocks those are; null means all of them where there are blocks, and none (the
 * clusters read as zeroes) where there are not. Blocks wholly past the drive's end are never stored; in the one
 * that straddles it the bytes past the end are zero.
 */
export class Run {
  readonly kind = 'run'
  readonly drive: number
  readonly first: number
  readonly count: number
  readonly masks: Uint16Array | null
  readonly blocks: readonly Uint8Array[]
  readonly leases: readonly Lease[]
  /** Bytes of the blocks; a run of zeroes counts too. */
  readonly byteLength: number

  constructor(
    drive: number,
    first: number,
    count: number,
    blocks: readonly Uint8Array[],
    masks: Uint16Array | null = null,
    leases: readonly Lease[] = [],
  ) {
    this.drive = drive
    this.first = first
    this.count = count
    this.blocks = blocks
    this.masks = masks
    this.leases = leases
    this.byteLength = Math.max(EMPTY_RUN_BYTES, totalLength(blocks))
  }

  /** True for clusters that are known to read as zeroes. */
  get isZero(): boolean {
    return this.blocks.length === 0
  }

  release(): void {
    for (const lease of this.leases) lease.release()
  }
}

/** Bytes of one drive: data, or zeroes where `data` is null. Offset and length in bytes, within the drive. */
export class Range {
  readonly kind = 'range'
  readonly drive: number
  readonly offset: number
  readonly length: number
  readonly data: readonly Uint8Array[] | null
  readonly leases: readonly Lease[]
  readonly byteLength: number

  constructor(
    drive: number,
    offset: number,
    length: number,
    data: readonly Uint8Array[] | null,
    leases: readonly Lease[] = [],
  ) {
    this.drive = drive
    this.offset = offset
    this.length = length
    this.data = data
    this.leases = leases
    this.byteLength = data === null ? 512 : length
  }

  release(): void {
    for (const lease of this.leases) lease.release()
  }
}

/** Damage that a stage went on behind, told to the next one at its place in the stream. */
export interface Gap {
  /** What is wrong, as it was reported. */
  error: VmapipeError
  /** Bytes are missing here, nobody knows how many. */
  lost: boolean
  /** So many bytes right before the gap are not to be trusted. */
  doubtful: number
}

/** Bytes of a stream, gathered from several buffers so that nobody has to copy them together. */
export class Chunk {
  readonly kind = 'chunk'
  readonly buffers: readonly Uint8Array[]
  readonly byteLength: number
  readonly leases: readonly Lease[]
  /** What is behind its bytes, if any; only from a stage that was asked to go on behind damage. */
  readonly gap: Gap | null
  /** What a reader looks up first: a compressor keeps it apart from the rest, so that little has to be read for it. */
  lookedUp = false

  constructor(buffers: readonly Uint8Array[], leases: readonly Lease[] = [], gap: Gap | null = null) {
    this.buffers = buffers
    this.byteLength = totalLength(buffers)
    this.leases = leases
    this.gap = gap
  }

  release(): void {
    for (const lease of this.leases) lease.release()
  }
}

export type ClusterItem = Manifest | Run
export type RangeItem = Manifest | Range
export type Item = Manifest | Run | Range | Chunk

export function totalLength(buffers: readonly Uint8Array[]): number {
  let sum = 0
  for (const buffer of buffers) sum += buffer.byteLength
  return sum
}

/** The kinds of streams that stages take and give; `same` gives whatever is taken. */
export type Kind = 'nothing' | 'clusters' | 'ranges' | 'bytes'
