/** The bytes of a VMA archive into clusters, as views of the bytes that came. Everything the archive claims is checked. */

import { ByteQueue } from '../core/byte-queue.ts'
import { ClusterSet } from '../core/cluster-set.ts'
import type { Counters } from '../core/counters.ts'
import { VmapipeError } from '../core/errors.ts'
import { BLOCK_SIZE, clusterCount, clusterMask, popcount16 } from '../core/geometry.ts'
import { type Chunk, type ClusterItem, type DriveInfo, type Manifest, Run } from '../core/items.ts'
import { defineStage, z } from '../core/stage.ts'
import { none, stepWithFlush } from '../core/steps.ts'
import { CRC32, checksumOf } from '../formats/vma/checksum.ts'
import { EndingCheck } from '../formats/vma/ending-check.ts'
import { decodeExtentHeader, EXTENT_HEADER_SIZE, type ExtentHeader, type Slot } from '../formats/vma/extent.ts'
import { decodeHeader, headerSize } from '../formats/vma/header.ts'

export const vmaDeframer = defineStage({
  name: 'vma-deframer',
  summary: 'makes clusters out of a VMA archive, and checks it',
  input: 'bytes',
  output: 'clusters',
  options: z.strictObject({}),
  create(_, { counters }) {
    const deframer = new Deframer(counters)
    return stepWithFlush(
      (chunk: Chunk) => deframer.push(chunk),
      () => deframer.finish(),
    )
  },
})

/** Bytes of the header that tell its size. */
const HEADER_START = 60

class Deframer {
  readonly #queue = new ByteQueue()
  readonly #counters: Counters
  #manifest: Manifest | null = null
  readonly #drives = new Map<number, DriveInfo & { seen: ClusterSet }>()
  #extent: (ExtentHeader & { offset: number }) | null = null
  #ending: EndingCheck | null = null
  /** Told by the first extent: an archive that has checksums has an end. */
  #hasChecksums: boolean | null = null

  constructor(counters: Counters) {
    this.#counters = counters
  }

  *push(chunk: Chunk): Generator<ClusterItem> {
    this.#queue.push(chunk)
    if (this.#manifest === null) {
      this.#manifest = this.#header()
      if (this.#manifest === null) return
      yield this.#manifest
    }
    while (this.#nextExtent(this.#manifest)) yield* this.#runs()
  }

  /** Nothing more comes: everything must have come. */
  finish(): typeof none {
    const { length, position } = this.#queue
    const offset = position + length
    this.#queue.clear()
    if (this.#manifest === null) {
      throw new VmapipeError(
        'INCOMPLETE',
        offset === 0 ? 'the archive is empty' : 'the archive ends within its header',
        { offset },
      )
    }
    if (length > 0 || this.#extent !== null)
      throw new VmapipeError('INCOMPLETE', 'the archive ends within an extent', { offset })
    for (const { name, seen } of this.#drives.values()) {
      const missing = seen.firstMissing()
      if (missing < 0) continue
      const message = `the archive ends with ${seen.size - seen.count} of ${seen.size} clusters missing, the first of them here`
      throw new VmapipeError('INCOMPLETE', message, { drive: name, cluster: missing, offset })
    }
    if (this.#hasChecksums && !this.#ending!.isClosed)
      throw new VmapipeError('INCOMPLETE', 'the archive has no end: it was cut behind the last cluster', { offset })
    return none
  }

  #header(): Manifest | null {
    const { length } = this.#queue
    if (length < HEADER_START) return null
    const size = headerSize(this.#queue.peek(HEADER_START))
    if (length < size) return null
    const manifest = decodeHeader(this.#queue.peek(size))
    this.#queue.skip(size)
    this.#counters.add('archive', size)
    this.#ending = new EndingCheck(manifest)
    for (const drive of manifest.drives) {
      this.#drives.set(drive.id, { ...drive, seen: new ClusterSet(clusterCount(drive.size)) })
    }
    return manifest
  }

  /** True when a whole extent has come: its header is decoded, its blocks are in the queue. */
  #nextExtent(manifest: Manifest): boolean {
    if (this.#extent === null) {
      if (this.#queue.length < EXTENT_HEADER_SIZE) return false
      const offset = this.#queue.position
      const header = this.#queue.peek(EXTENT_HEADER_SIZE)
      this.#extent = { ...decodeExtentHeader(header, manifest.uuid, offset), offset }
      this.#queue.skip(EXTENT_HEADER_SIZE)
    }
    return this.#queue.length >= this.#extent.blocks * BLOCK_SIZE
  }

  /** The runs of the extent: neighbouring slots of one drive together. */
  *#runs(): Generator<Run> {
    const extent = this.#extent!
    const { slots, blocks, offset } = extent
    this.#extent = null
    this.#counters.add('archive', EXTENT_HEADER_SIZE + blocks * BLOCK_SIZE)
    this.#check(extent)
    for (let from = 0; from < slots.length; ) {
      let to = from + 1
      while (to < slots.length && follows(slots[to - 1], slots[to])) to++
      this.#admit(slots[from], to - from, offset)
      yield this.#run(slots, from, to)
      from = to
    }
  }

  /** Its data, and its place before the end of the archive. */
  #check({ slots, blocks, checksum, record, offset }: ExtentHeader & { offset: number }): void {
    this.#hasChecksums ??= checksum !== null
    if (record !== null) {
      this.#ending!.see(record, offset)
      return
    }
    if (checksum?.algorithm === CRC32) {
      const actual = checksumOf(this.#queue.look(blocks * BLOCK_SIZE))
      if (actual !== checksum.value)
        throw new VmapipeError('DAMAGED', 'the checksum of the data of this extent is wrong', { offset })
    }
    for (const { drive, cluster, mask } of slots) if (this.#drives.has(drive)) this.#ending!.add(drive, cluster, mask)
    this.#ending!.endExtent(offset)
  }

  #admit({ drive: id, cluster }: Slot, count: number, offset: number): void {
    const drive = this.#drives.get(id)
    if (drive === undefined)
      throw new VmapipeError(
        'DAMAGED',
        `the extent holds clusters of dev_id ${id}, which the header does not declare`,
        { offset },
      )
    if (cluster + count > drive.seen.size) {
      const message = `the extent holds a cluster past the end of the drive, which has ${drive.seen.size}`
      throw new VmapipeError('DAMAGED', message, { drive: drive.name, cluster: cluster + count - 1, offset })
    }
    const twice = drive.seen.addRange(cluster, count)
    if (twice >= 0)
      throw new VmapipeError('DAMAGED', 'a cluster comes twice', { drive: drive.name, cluster: twice, offset })
  }

  #run(slots: Slot[], from: number, to: number): Run {
    const { drive, cluster: first } = slots[from]
    const { size } = this.#drives.get(drive)!
    const masks = new Uint16Array(to - from)
    let blocks = 0
    let past = 0
    for (let index = from; index < to; index++) {
      const { cluster, mask } = slots[index]
      const kept = mask & clusterMask(size, cluster)
      masks[index - from] = kept
      blocks += popcount16(kept)
      // Of the drive's last cluster, and so at the end of the run: readers ignore what is past the drive's end.
      past += popcount16(mask ^ kept)
    }
    const { buffers, leases } = this.#queue.take(blocks * BLOCK_SIZE)
    this.#queue.skip(past * BLOCK_SIZE)
    return blocks === 0
      ? new Run(drive, first, masks.length, [])
      : new Run(drive, first, masks.length, buffers, masks, leases)
  }
}

function follows(a: Slot, b: Slot): boolean {
  return a.drive === b.drive && a.cluster + 1 === b.cluster
}
