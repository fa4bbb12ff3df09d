/**
 * The items that flow between stages. An item belongs to the stage that holds it: the stage passes it on or releases it, once.
 *
 *   clusters   a Manifest, then Runs in any order, each cluster of each drive once
 *   ranges     the Manifest, then Ranges: the same data as bytes of drives, without clusters
 *   bytes      Chunks; from the framer, a chunk is the header, an extent, or extents that store nothing
 */

import type { Lease } from './budget.ts'
import type { VmapipeError } from './errors.ts'

/** A drive in an archive. */
export interface DriveInfo {
  /** The dev_id in the archive: 1 to 254. */
  id: number
  name: string
  /** In bytes; it need not be a multiple of anything. */
  size: number
}

/** A config file of the guest, which the archive carries as it is. */
export interface ConfigFile {
  name: string
  data: Uint8Array
}

/** Names the parent of an incremental archive: the archive that it was made against. */
export interface ParentRecord {
  uuid: Uint8Array
  /** The checksum of the parent's end (formats/vma/README.md): 16 bytes. */
  end: Uint8Array
  /** The time of the parent in seconds since the epoch. */
  ctime: number
}

/** What an archive says about how it was made. */
export interface ArchiveRecord {
  /** Null in a full archive. */
  parent: ParentRecord | null
  /** Which guest the archive is of, so that its next backup finds it. */
  guest: string | null
  /** Why the archive is full although an incremental one was wanted. */
  full: string | null
  /** Why drives were read or stored as a whole although the archive is incremental, by the names of the drives. */
  whole?: Readonly<Record<string, string>>
  /** The program that wrote the archive, such as "vmapipe 0.1.0". Only what is read of an archive has it. */
  tool?: string
}

/**
 * Describes the archive: its uuid, time, config files and drives. It is the first item of a stream of clusters or ranges.
 *
 *     const manifest = new Manifest({
 *       uuid: crypto.getRandomValues(new Uint8Array(16)),
 *       ctime: Math.floor(Date.now() / 1000),
 *       configs: [],
 *       drives: [{ id: 1, name: 'drive-scsi0', size: 1 << 30 }],
 *     })
 *     console.log(manifest.drives[0]?.name)
 */
export class Manifest {
  readonly kind = 'manifest'
  readonly byteLength = 1024
  readonly uuid: Uint8Array
  /** Seconds since the epoch. */
  readonly ctime: number
  readonly configs: ConfigFile[]
  readonly drives: DriveInfo[]
  /** Null if the archive says nothing about how it was made. */
  readonly record: ArchiveRecord | null

  constructor({
    uuid,
    ctime,
    configs,
    drives,
    record = null,
  }: Pick<Manifest, 'uuid' | 'ctime' | 'configs' | 'drives'> & Partial<Pick<Manifest, 'record'>>) {
    this.uuid = uuid
    this.ctime = ctime
    this.configs = configs
    this.drives = drives
    this.record = record
  }

  /** Whether the archive is incremental: a cluster that it does not have is unchanged since its parent. */
  get isIncremental(): boolean {
    return this.record !== null && this.record.parent !== null
  }

  release(): void {}
}

/** The bytes that a run without data counts for: about its own memory, so that the number of such runs is bounded too. */
export const EMPTY_RUN_BYTES = 512

/**
 * Consecutive clusters of one drive.
 *
 * `blocks` holds their stored 4 KiB blocks one after the other, in as few views as possible. `masks` has one 16-bit mask
 * per cluster that says which blocks those are. If `masks` is null, all blocks are stored, or none if `blocks` is empty: the
 * clusters then read as zeroes. Blocks wholly past the drive's end are never stored. In a block that the end is inside of,
 * the bytes past the end are zero.
 *
 *     const data = new Run(1, 0, 2, [Buffer.alloc(2 * CLUSTER_SIZE, 1)])
 *     const hole = new Run(1, 2, 100, [])
 *     console.log(data.isZero, hole.isZero)
 */
export class Run {
  readonly kind = 'run'
  readonly drive: number
  readonly first: number
  readonly count: number
  readonly masks: Uint16Array | null
  readonly blocks: readonly Uint8Array[]
  readonly leases: readonly Lease[]
  /**
   * The hashes of the clusters (formats/vma/README.md), 16 bytes for each, if a stage has hashed them already; zero bytes for a cluster
   * without stored blocks. A stage that changes the data in place must set this to null.
   */
  hashes: Uint8Array | null = null
  /** Bytes of the blocks, at least EMPTY_RUN_BYTES. */
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

/**
 * Bytes of one drive: data, or zeroes if `data` is null. Offset and length are in bytes, within the drive.
 *
 *     const range = new Range(1, 65536, 4096, [Buffer.alloc(4096, 1)])
 *     const zeroes = new Range(1, 69632, 1 << 20, null)
 *     console.log(range.length + zeroes.length)
 */
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

/** Damage that a stage continued behind. It tells the next stage at the place of the damage in the stream. */
export interface Gap {
  /** The damage, as it was reported. */
  error: VmapipeError
  /** Whether an unknown number of bytes is missing here. */
  lost: boolean
  /** The number of bytes right before the gap that may be wrong. */
  doubtful: number
}

/**
 * Bytes of a stream in one or more buffers, so that no stage has to copy them into one.
 *
 *     const chunk = new Chunk([Buffer.from('two'), Buffer.from(' parts')])
 *     console.log(chunk.byteLength)
 *     chunk.release()
 */
export class Chunk {
  readonly kind = 'chunk'
  readonly buffers: readonly Uint8Array[]
  readonly byteLength: number
  readonly leases: readonly Lease[]
  /** The gap behind its bytes, or null. Only a stage that was asked to continue behind damage sets it. */
  readonly gap: Gap | null
  /** True for bytes that a reader looks up first. A compressor gives them a frame of their own, so that a reader reads little for them. */
  lookedUp = false
  /** True for hashes of clusters. Only some readers want them, so a compressor puts them into frames of their own. */
  hashes = false

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

/** What flows where a stage takes or gives `clusters`. */
export type ClusterItem = Manifest | Run
/** What flows where a stage takes or gives `ranges`. */
export type RangeItem = Manifest | Range
/** Anything that flows between stages. */
export type Item = Manifest | Run | Range | Chunk

export function totalLength(buffers: readonly Uint8Array[]): number {
  let sum = 0
  for (const buffer of buffers) sum += buffer.byteLength
  return sum
}

/** The bytes of data in an item. The manifest, holes and zeroes count as none. */
export function dataLength(item: Item): number {
  if (item.kind === 'chunk') return item.byteLength
  if (item.kind === 'run') return item.isZero ? 0 : item.byteLength
  if (item.kind === 'range') return item.data === null ? 0 : item.length
  return 0
}

/** The kinds of items that flow into and out of stages. */
export type Kind = 'nothing' | 'clusters' | 'ranges' | 'bytes'
