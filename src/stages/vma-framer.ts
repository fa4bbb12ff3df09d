/** Makes the bytes of a VMA archive from clusters: the header, extents of up to 58 clusters, and the trailer. Nothing is copied. */

import { type ClusterHashing, clusterHashing, compiledHashing } from '../codecs/hashing/cluster-hashing.ts'
import { BlockCursor } from '../core/block-cursor.ts'
import type { Lease } from '../core/budget.ts'
import type { Counters } from '../core/counters.ts'
import { VmapipeError } from '../core/errors.ts'
import { BLOCK_SIZE, popcount16 } from '../core/geometry.ts'
import { InOrder } from '../core/in-order.ts'
import { Chunk, type ClusterItem, type Manifest, type Run, totalLength } from '../core/items.ts'
import { defineStage, type Push, type StageContext, type TransformBody, z } from '../core/stage.ts'
import { BLAKE3, CRC32, checksumOf, type ExtentChecksum } from '../formats/vma/checksum.ts'
import { type ClusterHasher, HASH_BYTES, NOTHING_STORED, storedHashes } from '../formats/vma/cluster-hash.ts'
import { EXTENT_HEADER_SIZE, ExtentHeaderWriter, SLOTS, SLOTS_USED } from '../formats/vma/extent.ts'
import { HashRecordWriter } from '../formats/vma/hash-records.ts'
import { encodeHeader } from '../formats/vma/header.ts'
import { TrailerWriter } from '../formats/vma/trailer.ts'
import { adjacent } from './vma-framer/adjacent.ts'
import { FramedDrives } from './vma-framer/framed-drives.ts'

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
  create: (options: Options, context) => new VmaFramer(options, context),
})

/** Bytes of runs that are hashed at once, beside the event loop: two full extents, and what comes next. */
const MOST_HASHED = 8 << 20

/** Hashes runs, several at once, and frames them in order. */
class VmaFramer implements TransformBody<ClusterItem, Chunk> {
  readonly #options: Options
  readonly #context: StageContext
  readonly #order: InOrder
  #framer: Framer | null = null
  /** Null if clusters are not hashed. */
  #hashing: ClusterHashing | null = null

  constructor(options: Options, context: StageContext) {
    this.#options = options
    this.#context = context
    this.#order = new InOrder(MOST_HASHED, context)
  }

  transform(item: ClusterItem, push: Push<Chunk>): void | Promise<void> {
    if (item.kind === 'manifest') return this.#begin(item, push)
    const framer = this.#framer
    if (framer === null) throw new VmapipeError('STAGE', 'clusters came before the manifest')
    const masks = framer.admit(item)
    return this.#order.add(item, this.#hashesOf(item, masks), (hashes) => {
      for (const chunk of framer.frame(item, { masks, hashes })) push(chunk)
    })
  }

  async flush(push: Push<Chunk>): Promise<void> {
    if (this.#framer === null) throw new VmapipeError('STAGE', 'nothing came, not even a manifest')
    await this.#order.drain()
    for (const chunk of this.#framer.finish()) push(chunk)
  }

  close(error: Error | null): Promise<void> {
    return this.#order.close(error)
  }

  async #begin(manifest: Manifest, push: Push<Chunk>): Promise<void> {
    const { counters, budget, threads } = this.#context
    this.#hashing = await hashingFor(this.#options, manifest, threads)
    const options = { ...this.#options, hasher: this.#hashing?.hasher ?? null }
    this.#framer = new Framer(manifest, options, mostHeldOf(budget.total), counters)
    push(this.#framer.header())
  }

  #hashesOf(run: Run, masks: Uint16Array | null): Details['hashes'] | Promise<Uint8Array> {
    if (this.#hashing === null || masks === null) return null
    const { hashes, count, blocks, leases } = run
    return hashes?.byteLength === count * HASH_BYTES ? hashes : this.#hashing.hashes({ masks, blocks, leases })
  }
}

/** Without compiled code, hashing would be the slowest part of a backup. Then only incremental archives have hashes, and those that must. */
async function hashingFor(
  { checksums, hashes }: Options,
  { isIncremental }: Manifest,
  threads: number,
): Promise<ClusterHashing | null> {
  if (!checksums || (hashes === false && !isIncremental)) return null
  return hashes || isIncremental ? clusterHashing(threads) : compiledHashing(threads)
}

/**
 * The most memory that an extent may hold until it is full. The data that is read next must fit beside it, or the extent would never
 * be filled. A few clusters may hold much memory, if their neighbours in the same buffer were copied for a guest's write instead.
 */
function mostHeldOf(budget: number): number {
  return Math.max(4 << 20, Math.min(8 << 20, budget >> 3))
}

/** What is stored of each cluster of a run; null for a hole. Its hashes are null too if clusters are not hashed. */
interface Details {
  masks: Uint16Array | null
  hashes: Uint8Array | null
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
  readonly #drives: FramedDrives
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
    this.#archiveHeader = encodeHeader(manifest, { signed: checksums || index })
    // An archive with checksums has a trailer, whether or not it has an index.
    this.#trailer =
      checksums || index
        ? new TrailerWriter(manifest, this.#archiveHeader.length, { index, hashes: hasher !== null })
        : null
    this.#mostHeld = mostHeld
    this.#counters = counters
    this.#header = new ExtentHeaderWriter(manifest.uuid)
    this.#drives = new FramedDrives(manifest.drives)
  }

  /** Notes that the clusters of a run have come, and returns the masks of what is stored of them; null for a hole. */
  admit(run: Run): Uint16Array | null {
    return this.#drives.admit(run)
  }

  header(): Chunk {
    return this.#emitLookedUp(this.#archiveHeader)
  }

  /** Gives the extents that this run fills, or makes hold too much memory. Extents of a hole, which store nothing, are in one chunk. */
  *frame(run: Run, details: Details): Generator<Chunk> {
    const cursor = new BlockCursor(run.blocks)
    const empty: Buffer[] = []
    for (let done = 0; done < run.count; ) {
      const count = Math.min(run.count - done, this.#maxSlots - this.#header.slots)
      this.#add(run, details, done, count, cursor)
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
    if (!this.#isPartial) this.#drives.requireAll()
    // An archive without drives has one empty extent.
    if (this.#header.slots > 0 || this.#extents === 0) yield* this.#extent()
    if (!this.#records.isEmpty) yield this.#group()
    for (const bytes of this.#trailer?.finish() ?? []) yield this.#emitLookedUp(bytes)
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
