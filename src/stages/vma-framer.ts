/** Makes the bytes of a VMA archive from clusters: the header, extents of up to 58 clusters, and the trailer. Nothing is copied. */

import { BlockCursor } from '../core/block-cursor.ts'
import type { Lease } from '../core/budget.ts'
import { ClusterSet } from '../core/cluster-set.ts'
import type { Counters } from '../core/counters.ts'
import { VmapipeError } from '../core/errors.ts'
import { BLOCK_SIZE, clusterCount, clusterMask, FULL_MASK, popcount16 } from '../core/geometry.ts'
import { Chunk, type ClusterItem, type DriveInfo, type Manifest, type Run, totalLength } from '../core/items.ts'
import { defineStage, z } from '../core/stage.ts'
import { stepWithFlush } from '../core/steps.ts'
import { BLAKE3, CRC32, checksumOf, type ExtentChecksum } from '../formats/vma/checksum.ts'
import {
  type ClusterHasher,
  clusterHasher,
  compiledHasher,
  HASH_BYTES,
  NOTHING_STORED,
  storedHashes,
} from '../formats/vma/cluster-hash.ts'
import { EXTENT_HEADER_SIZE, ExtentHeaderWriter, SLOTS, SLOTS_USED } from '../formats/vma/extent.ts'
import { HashRecordWriter } from '../formats/vma/hash-records.ts'
import { encodeHeader } from '../formats/vma/header.ts'
import { TrailerWriter } from '../formats/vma/trailer.ts'

const options = z
  .strictObject({
    slots: z.int().min(1).max(SLOTS).default(SLOTS_USED).describe('clusters in an extent; the real tool writes 58'),
    checksums: z
      .boolean()
      .default(true)
      .describe('add hashes of all clusters, and a checksum to every extent; other readers skip them'),
    hashes: z
      .boolean()
      .optional()
      .describe('hash clusters; false: checksums are CRC-32; by default true if there is compiled code for BLAKE3'),
    index: z.boolean().default(true).describe('add an index of all clusters at the end of the archive'),
  })
  .refine(({ slots, checksums }) => slots < SLOTS || !checksums, {
    path: ['slots'],
    message: `with checksums at most ${SLOTS_USED}: they take the last slot`,
  })

type Options = z.output<typeof options>

/**
 * Takes clusters, and gives the bytes of a VMA archive. Errors: USAGE for names that no archive can have.
 *
 *     await definePipeline([clusterSource({ drives: { a: 'disk.raw' } }), vmaFramer({ index: false }), sink({ to: 'vm.vma' })]).run()
 */
export const vmaFramer = defineStage({
  name: 'vma-framer',
  summary: 'makes a VMA archive out of clusters',
  input: 'clusters',
  output: 'bytes',
  options,
  create(options: Options, { counters, budget }) {
    const mostHeld = mostHeldOf(budget.total)
    let framer: Framer | null = null
    const begin = async (manifest: Manifest) => {
      framer = new Framer(manifest, { ...options, hasher: await hasherFor(options, manifest) }, mostHeld, counters)
      return framer.header()
    }
    return stepWithFlush(
      (item: ClusterItem) => {
        if (item.kind === 'manifest') return begin(item)
        if (framer === null) throw new VmapipeError('STAGE', 'clusters came before the manifest')
        return framer.frame(item)
      },
      () => {
        if (framer === null) throw new VmapipeError('STAGE', 'nothing came, not even a manifest')
        return framer.finish()
      },
    )
  },
})

/** Without compiled code, hashing would be the slowest part of a backup. Then only incremental archives have hashes, and those that must. */
async function hasherFor({ checksums, hashes }: Options, { isIncremental }: Manifest): Promise<ClusterHasher | null> {
  if (!checksums || (hashes === false && !isIncremental)) return null
  return hashes || isIncremental ? clusterHasher() : compiledHasher()
}

/**
 * The most memory that an extent may hold until it is full. The data that is read next must fit beside it, or the extent would never
 * be filled. A few clusters may hold much memory, if their neighbours in the same buffer were copied for a guest's write instead.
 */
function mostHeldOf(budget: number): number {
  return Math.max(4 << 20, Math.min(8 << 20, budget >> 3))
}

interface DriveState extends DriveInfo {
  seen: ClusterSet
  /** The drive's last cluster, whose mask may have fewer blocks. */
  last: number
  lastMask: number
}

/** What is stored of each cluster of a run; null for a hole. Its hashes are null too if clusters are not hashed. */
interface Details {
  masks: Uint16Array | null
  hashes: Uint8Array | null
}

function masksOf({ first, count, masks }: Run, { last, lastMask }: DriveState): Uint16Array {
  const all = masks === null ? new Uint16Array(count).fill(FULL_MASK) : masks
  if (first + count - 1 !== last || (all[count - 1] & lastMask) === all[count - 1]) return all
  const cut = Uint16Array.from(all)
  cut[count - 1] &= lastMask
  return cut
}

class Framer {
  readonly #maxSlots: number
  readonly #checksums: boolean
  /** Null if clusters are not hashed. */
  readonly #hasher: ClusterHasher | null
  readonly #records: HashRecordWriter
  readonly #trailer: TrailerWriter | null
  readonly #mostHeld: number
  readonly #counters: Counters
  /** Whether clusters may be absent, because they are unchanged since the parent. */
  readonly #isPartial: boolean
  readonly #drives = new Map<number, DriveState>()
  readonly #archiveHeader: Buffer
  readonly #header: ExtentHeaderWriter
  #blocks: Uint8Array[] = []
  #leases = new Set<Lease>()
  /** The hashes of the stored clusters of the extent. */
  #hashes: Uint8Array[] = []
  /** Bytes of all memory behind the blocks, which are views. */
  #held = 0
  #extents = 0

  constructor(
    manifest: Manifest,
    { slots, checksums, index, hasher }: Options & { hasher: ClusterHasher | null },
    mostHeld: number,
    counters: Counters,
  ) {
    if (manifest.isIncremental && !(checksums && index)) {
      throw new VmapipeError('USAGE', 'an incremental archive must have checksums and an index', {
        hint: 'without them nobody could tell clusters that are unchanged from clusters that were lost',
      })
    }
    this.#isPartial = manifest.isIncremental
    this.#maxSlots = slots
    this.#checksums = checksums
    this.#hasher = hasher
    this.#records = new HashRecordWriter(manifest.uuid)
    this.#archiveHeader = encodeHeader(manifest)
    // An archive with checksums has a trailer, whether or not it has an index.
    this.#trailer =
      checksums || index
        ? new TrailerWriter(manifest, this.#archiveHeader.length, { index, hashes: hasher !== null })
        : null
    this.#mostHeld = mostHeld
    this.#counters = counters
    this.#header = new ExtentHeaderWriter(manifest.uuid)
    for (const drive of manifest.drives) {
      const clusters = clusterCount(drive.size)
      const last = clusters - 1
      this.#drives.set(drive.id, {
        ...drive,
        seen: new ClusterSet(clusters),
        last,
        lastMask: clusterMask(drive.size, last),
      })
    }
  }

  header(): Chunk {
    return this.#emitLookedUp(this.#archiveHeader)
  }

  /** Gives the extents that this run fills, or makes hold too much memory. Extents of a hole, which store nothing, are in one chunk. */
  *frame(run: Run): Generator<Chunk> {
    const drive = this.#admit(run)
    const cursor = new BlockCursor(run.blocks)
    const masks = run.isZero ? null : masksOf(run, drive)
    const hashes = masks && this.#hashesOf(run, masks)
    const empty: Buffer[] = []
    for (let done = 0; done < run.count; ) {
      const count = Math.min(run.count - done, this.#maxSlots - this.#header.slots)
      this.#add(run, { masks, hashes }, done, count, cursor)
      done += count
      if (this.#header.slots < this.#maxSlots) break
      if (run.isZero && this.#blocks.length === 0) empty.push(this.#finishHeader())
      else yield* this.#extent()
    }
    run.release()
    if (this.#held > this.#mostHeld) yield* this.#extent()
    if (empty.length > 0) yield this.#empty(empty)
  }

  /** Gives the last extent and the trailer. */
  *finish(): Generator<Chunk> {
    for (const { name, seen } of this.#drives.values()) {
      const missing = this.#isPartial ? -1 : seen.firstMissing()
      if (missing >= 0) {
        throw new VmapipeError('STAGE', `only ${seen.count} of ${seen.size} clusters came`, {
          drive: name,
          cluster: missing,
        })
      }
    }
    // An archive without drives has one empty extent.
    if (this.#header.slots > 0 || this.#extents === 0) yield* this.#extent()
    if (!this.#records.isEmpty) yield this.#group()
    for (const bytes of this.#trailer?.finish() ?? []) yield this.#emitLookedUp(bytes)
  }

  #hashesOf({ hashes, count, blocks }: Run, masks: Uint16Array): Uint8Array | null {
    if (this.#hasher === null) return null
    return hashes?.byteLength === count * HASH_BYTES ? hashes : this.#hasher.hashes(masks, blocks)
  }

  #admit(run: Run): DriveState {
    const drive = this.#drives.get(run.drive)
    if (drive === undefined)
      throw new VmapipeError('STAGE', `clusters of drive ${run.drive} came, which the manifest does not have`)
    if (run.first < 0 || run.first + run.count > drive.seen.size) {
      throw new VmapipeError('STAGE', 'a cluster past the end of the drive came', {
        drive: drive.name,
        cluster: run.first + run.count - 1,
      })
    }
    const twice = drive.seen.addRange(run.first, run.count)
    if (twice >= 0) throw new VmapipeError('STAGE', 'a cluster came twice', { drive: drive.name, cluster: twice })
    return drive
  }

  #add(run: Run, { masks, hashes }: Details, from: number, count: number, cursor: BlockCursor): void {
    if (masks === null) {
      this.#header.addZeroes(run.drive, run.first + from, count)
      this.#trailer?.addZeroes(run.drive, run.first + from, count)
      return
    }
    let blocks = 0
    for (let index = from; index < from + count; index++) {
      const cluster = run.first + index
      const mask = masks[index]
      this.#header.add(run.drive, cluster, mask)
      this.#trailer?.add(run.drive, cluster, mask)
      blocks += popcount16(mask)
    }
    if (blocks === 0) return
    if (hashes !== null) {
      const part = hashes.subarray(from * HASH_BYTES, (from + count) * HASH_BYTES)
      this.#hashes.push(storedHashes(masks.subarray(from, from + count), part))
    }
    cursor.take(blocks * BLOCK_SIZE, this.#blocks)
    for (const lease of run.leases) this.#hold(lease)
  }

  /** Several runs may be views of the same memory. */
  #hold(lease: Lease): void {
    if (this.#leases.has(lease)) return
    this.#leases.add(lease.retain())
    this.#held += lease.bytes
  }

  /** Gives the extent, and the group of hashes that it completes. */
  *#extent(): Generator<Chunk> {
    const chunk = this.#emit([this.#finishHeader(), ...this.#blocks], [...this.#leases])
    this.#blocks = []
    this.#leases.clear()
    this.#held = 0
    yield chunk
    if (this.#records.isFull) yield this.#group()
  }

  /** The hashes since the last group. */
  #group(): Chunk {
    const records = this.#records.take()
    this.#trailer?.addRecords(records.length / EXTENT_HEADER_SIZE)
    const chunk = this.#emit([records], [])
    chunk.hashes = true
    return chunk
  }

  /** Completes the header for the current blocks. */
  #finishHeader(): Buffer {
    const header = this.#header.finish(this.#checksum())
    this.#trailer?.endExtent(header.length + totalLength(this.#blocks))
    this.#extents++
    return header
  }

  #checksum(): ExtentChecksum | null {
    if (!this.#checksums) return null
    if (this.#hasher === null) return { algorithm: CRC32, value: checksumOf(this.#blocks) }
    if (this.#hashes.length === 0) return { algorithm: BLAKE3, value: NOTHING_STORED }
    const hashes = this.#hashes.length === 1 ? this.#hashes[0] : Buffer.concat(this.#hashes)
    this.#hashes = []
    this.#records.add(hashes)
    return { algorithm: BLAKE3, value: this.#hasher.extentChecksum(hashes) }
  }

  #empty(headers: Buffer[]): Chunk {
    return this.#emit(adjacent(headers), [])
  }

  /** Gives the header or the trailer, which readers look up first. */
  #emitLookedUp(bytes: Buffer): Chunk {
    const chunk = this.#emit([bytes], [])
    chunk.lookedUp = true
    return chunk
  }

  #emit(buffers: Uint8Array[], leases: Lease[]): Chunk {
    const chunk = new Chunk(buffers, leases)
    this.#counters.add('archive', chunk.byteLength)
    return chunk
  }
}

/** The same bytes in fewer buffers: headers that were made one after the other have memory together. */
function adjacent(headers: readonly Buffer[]): Buffer[] {
  const joined: Buffer[] = []
  for (let first = 0, next = 1; next <= headers.length; next++) {
    const [before, header] = [headers[next - 1], headers[next]]
    if (header?.buffer === before.buffer && header.byteOffset === before.byteOffset + before.length) continue
    const { buffer, byteOffset } = headers[first]
    joined.push(Buffer.from(buffer, byteOffset, before.byteOffset + before.length - byteOffset))
    first = next
  }
  return joined
}
