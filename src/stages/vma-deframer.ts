/**
 * Makes clusters of the bytes of a VMA archive, as views of these bytes, and checks everything that the archive claims. If `findings`
 * are given, it continues behind damage. Data that does not match its checksum is passed on and noted as suspect. Behind a broken
 * extent or a gap it searches for the next extent. An impossible cluster is left out.
 */

import { behindText, goesOnBehind } from '../core/behind.ts'
import { ByteQueue } from '../core/byte-queue.ts'
import type { Counters } from '../core/counters.ts'
import { VmapipeError } from '../core/errors.ts'
import { type ClusterSpan, Findings, NoFindings } from '../core/findings.ts'
import { BLOCK_SIZE } from '../core/geometry.ts'
import { type Chunk, type ClusterItem, type Gap, type Manifest, Run } from '../core/items.ts'
import { defineStage, type Push, type StageContext, z } from '../core/stage.ts'
import {
  type ClusterHasher,
  clusterHasher,
  compiledHasher,
  HASH_BYTES,
  storedHashes,
} from '../formats/vma/cluster-hash.ts'
import { EXTENT_HEADER_SIZE, type Slot } from '../formats/vma/extent.ts'
import { checkExtent, hasHashes, isCheckable, masksOf } from '../formats/vma/extent-check.ts'
import { decodeHeader, headerSize } from '../formats/vma/header.ts'
import { TrailerCheck } from '../formats/vma/trailer-check.ts'
import { type Extent, ExtentReader } from './vma-deframer/extent-reader.ts'
import { admit, clustersOf, keptBlocks, slotRuns, spanText, storedBytes } from './vma-deframer/slot-runs.ts'
import { Unchecked } from './vma-deframer/unchecked.ts'

/**
 * Takes the bytes of a VMA archive, and gives its clusters. Errors: DAMAGED, INCOMPLETE.
 *
 *     await definePipeline([source({ from: 'vm.vma' }), vmaDeframer(), verifier()]).run()
 */
export const vmaDeframer = defineStage({
  name: 'vma-deframer',
  summary: 'makes clusters out of a VMA archive, and checks it',
  input: 'bytes',
  output: 'clusters',
  options: z.strictObject({
    findings: z
      .instanceof(Findings)
      .optional()
      .describe('in code: takes what is wrong; without it, damage is an error'),
  }),
  create({ findings = new NoFindings() }, context) {
    const deframer = new Deframer(findings, context)
    return {
      open: () => deframer.open(),
      transform(chunk: Chunk, push: Push<ClusterItem>) {
        for (const item of deframer.push(chunk)) push(item)
      },
      flush: () => deframer.finish(),
    }
  },
})

/** The number of bytes that are needed to recognise what begins. */
const START = 4
/** Bytes of the header that tell its size. */
const HEADER_START = 60

class Deframer {
  readonly #queue = new ByteQueue()
  readonly #counters: Counters
  readonly #stage: string
  readonly #findings: Findings
  readonly #unchecked = new Unchecked()
  /** Both are set when the header has come. */
  #extents: ExtentReader | null = null
  #trailer: TrailerCheck | null = null
  /** Whether the first extent has a checksum: then the archive must have a closing extent. Null before the first extent. */
  #hasChecksums: boolean | null = null
  /** Whether the archive lacks clusters that are unchanged since its parent: then only a closing extent says that it is whole. */
  #isIncremental = false
  /** Whether that checksum is made of hashes: then the archive has hash records too. */
  #hasHashes = false
  #hasher: ClusterHasher | null = compiledHasher()
  /** Whether the archive has ended: further bytes do not belong to it. */
  #isOver = false
  readonly #warn: (message: string) => void

  constructor(findings: Findings, { counters, name, warn }: StageContext) {
    this.#warn = warn
    this.#findings = findings
    this.#counters = counters
    this.#stage = name
  }

  async open(): Promise<void> {
    this.#hasher ??= await clusterHasher()
  }

  *push(chunk: Chunk): Generator<ClusterItem> {
    this.#queue.push(chunk)
    yield* this.#clusters()
    if (chunk.gap !== null) this.#passOver(chunk.gap)
    if (this.#isOver) this.#passOverRest()
  }

  *#clusters(): Generator<ClusterItem> {
    if (this.#extents === null) {
      const manifest = this.#header()
      if (manifest === null) return
      yield manifest
    }
    while (!this.#endsHere()) {
      const extent = this.#extents!.next()
      if (extent === null) return
      yield* this.#runs(extent)
    }
  }

  /** Whether nothing of the archive can follow: its closing extent has come, or it has none, and all clusters have come. */
  #endsHere(): boolean {
    if (this.#isOver) return true
    if (this.#trailer!.isClosed) this.#isOver = true
    else if (this.#isFull && !this.#extents!.mayFollow) {
      const { length, position } = this.#queue
      // Behind damage the place of the end is not known.
      if (!this.#extents!.isSearching)
        this.#report(goesOnBehind('extent', position, this.#queue.peek(Math.min(START, length))))
      this.#isOver = true
    }
    return this.#isOver
  }

  /** Whether every cluster of every drive has come, which ends an archive without a closing extent. */
  get #isFull(): boolean {
    return !this.#mustClose && [...this.#findings.drives.values()].every(({ seen }) => seen.count === seen.size)
  }

  get #mustClose(): boolean {
    return this.#isIncremental || this.#hasChecksums === true
  }

  #passOverRest(): void {
    const { length, position } = this.#queue
    if (length > 0 && this.#trailer!.isClosed && this.#findings.behind === null) {
      const within = this.#findings.compression === null ? 'archive' : 'content'
      this.#findings.behind = { offset: position, within }
      this.#warn(behindText(this.#findings.behind, this.#queue.peek(Math.min(START, length))))
    }
    this.#queue.clear()
  }

  /** Called at the end of the input. Reports what is missing. */
  finish(): void {
    const { length, position } = this.#queue
    const offset = position + length
    if (this.#extents === null) throw headerMissing(offset)
    const incomplete = (message: string, where: { drive?: string; cluster?: number } = {}) =>
      this.#report(new VmapipeError('INCOMPLETE', message, { ...where, offset }))
    if (length > 0 && this.#isFull && !this.#extents.isSearching && !this.#extents.mayBegin)
      this.#report(goesOnBehind('extent', position, this.#queue.peek(Math.min(START, length))))
    else if (this.#extents.isWithin && !this.#isOver) incomplete('the archive ends within an extent')
    const cut = this.#extents.isWithin
    this.#queue.clear()
    for (const { info, seen, isPartial } of this.#findings.drives.values()) {
      if (isPartial) continue
      const cluster = seen.firstMissing()
      if (cluster < 0) continue
      const message = `the archive ends with ${seen.size - seen.count} of ${seen.size} clusters missing, the first of them here`
      incomplete(message, { drive: info.name, cluster })
    }
    if (this.#mustClose && !this.#trailer!.isClosed && !cut)
      incomplete('the archive has no end: it was cut behind the last cluster')
  }

  #report(error: unknown, clusters?: readonly ClusterSpan[]): void {
    this.#findings.report(this.#stage, error, clusters)
  }

  #header(): Manifest | null {
    const { length } = this.#queue
    if (length < HEADER_START) return null
    const size = headerSize(this.#queue.peek(HEADER_START))
    if (length < size) return null
    const manifest = decodeHeader(this.#queue.peek(size))
    this.#queue.skip(size)
    this.#counters.add('archive', size)
    const trailer = new TrailerCheck(manifest)
    this.#trailer = trailer
    this.#extents = new ExtentReader(this.#queue, manifest.uuid, (error) => {
      this.#report(error)
      trailer.forgive()
    })
    this.#isIncremental = manifest.isIncremental
    this.#findings.begin(manifest)
    return manifest
  }

  /** Handles a gap: bytes are missing here, or bytes before it are in doubt. */
  #passOver({ error, lost, doubtful }: Gap): void {
    if (this.#extents === null) throw error
    const { position, length } = this.#queue
    const end = position + length
    this.#unchecked.doubt({ start: end - doubtful, end }, position, this.#findings)
    if (!lost) return
    this.#extents.drop()
    this.#trailer!.forgive()
  }

  *#runs(extent: Extent): Generator<Run> {
    const { slots, blocks, checksum, record, offset } = extent
    this.#counters.add('archive', EXTENT_HEADER_SIZE + blocks * BLOCK_SIZE)
    this.#hasHashes ||= this.#hasChecksums === null && hasHashes(extent)
    this.#hasChecksums ??= checksum !== null
    if (record !== null) return this.#atEnd((trailer) => trailer.see(record, offset))
    let hashes: Uint8Array | null = null
    if (isCheckable(extent)) {
      const checked = checkExtent(extent, this.#queue.look(blocks * BLOCK_SIZE), this.#hasher!)
      hashes = checked.hashes
      if (!checked.matches && this.#isLost(extent)) return
    } else this.#leaveUnchecked(extent)
    this.#account(extent, hashes)
    for (const run of slotRuns(slots)) yield* this.#pass(run, extent, hashes)
  }

  /** Calls the check of the trailer, and reports only the first error that it finds. */
  #atEnd(tell: (trailer: TrailerCheck) => void): void {
    try {
      tell(this.#trailer!)
    } catch (error) {
      this.#report(error)
      this.#trailer!.forgive()
    }
  }

  #leaveUnchecked({ slots, blocks }: Extent): void {
    const start = this.#queue.position
    const clusters = clustersOf(slots, this.#findings.drives)
    this.#unchecked.add({ start, end: start + blocks * BLOCK_SIZE, clusters }, this.#findings)
  }

  /** Reports an extent whose data is damaged, and tells whether it lacks bytes, and so its clusters. Otherwise they are passed on as suspect. */
  #isLost(extent: Extent): boolean {
    const { drives } = this.#findings
    const clusters = clustersOf(extent.slots, drives)
    const message = `the checksum of the data of this extent is wrong (clusters: ${spanText(clusters)})`
    this.#report(new VmapipeError('DAMAGED', message, { offset: extent.offset }), clusters)
    const short = this.#extents!.isShort(extent)
    if (short) this.#trailer!.forgive()
    else for (const { id, first, count } of clusters) drives.get(id)!.suspectRange(first, count)
    return short
  }

  /** `hashes` are null if they are not those of what was archived. */
  #account(extent: Extent, hashes: Uint8Array | null): void {
    const { slots, blocks, offset } = extent
    const { drives } = this.#findings
    this.#atEnd((trailer) => {
      if (blocks === 0) return this.#accountHole(extent, trailer)
      if (this.#hasHashes) {
        const masks = masksOf(slots)
        const all = hashes ?? new Uint8Array(slots.length * HASH_BYTES)
        trailer.addHashes(storedHashes(masks, all), hashes !== null, offset)
      }
      for (const { drive, cluster, mask } of slots) if (drives.has(drive)) trailer.add(drive, cluster, mask)
      trailer.endExtent(offset)
    })
  }

  /** The same for an extent without data. A large disk has a million of them. */
  #accountHole({ slots, offset }: Extent, trailer: TrailerCheck): void {
    if (this.#hasHashes) trailer.addHashes(new Uint8Array(0), true, offset)
    for (const run of slotRuns(slots))
      if (this.#findings.drives.has(run[0].drive)) trailer.addZeroes(run[0].drive, run[0].cluster, run.length)
    trailer.endExtent(offset)
  }

  /** Passes the slots on as one run. If the drive cannot have the whole run, it passes them on one by one. */
  *#pass(run: readonly Slot[], extent: Extent, hashes: Uint8Array | null): Generator<Run> {
    const refused = admit(this.#findings.drives, run, extent.offset)
    if (refused === null) yield this.#run(run, extent, hashes)
    else if (run.length > 1) for (const slot of run) yield* this.#pass([slot], extent, hashes)
    else this.#leaveOut(run[0], refused)
  }

  #leaveOut(slot: Slot, refused: VmapipeError): void {
    this.#report(refused)
    const drive = this.#findings.drives.get(slot.drive)
    // It is not known which of two copies is right.
    if (drive?.seen.has(slot.cluster)) drive.suspect.add(slot.cluster)
    this.#queue.skip(storedBytes([slot]))
  }

  #run(run: readonly Slot[], extent: Extent, hashes: Uint8Array | null): Run {
    const [{ drive: id, cluster: first }] = run
    const drive = this.#findings.drives.get(id)!
    if (isCheckable(extent)) drive.checked += run.length
    if (run.every(({ mask }) => mask === 0)) return new Run(id, first, run.length, [])
    const { masks, kept, past } = keptBlocks(run, drive)
    const { buffers, leases } = this.#queue.take(kept)
    this.#queue.skip(past)
    if (kept === 0) return new Run(id, first, run.length, [])
    const made = new Run(id, first, run.length, buffers, masks, leases)
    // A cluster without the blocks past the drive's end has another hash.
    if (hashes !== null && past === 0) {
      const from = extent.slots.indexOf(run[0]) * HASH_BYTES
      made.hashes = hashes.subarray(from, from + run.length * HASH_BYTES)
    }
    return made
  }
}

function headerMissing(offset: number): VmapipeError {
  const message = offset === 0 ? 'the archive is empty' : 'the archive ends within its header'
  return new VmapipeError('INCOMPLETE', message, { offset })
}
