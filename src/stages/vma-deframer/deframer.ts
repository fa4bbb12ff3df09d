/**
 * Checks everything that an archive claims, and makes clusters of it, as views of its bytes. Behind damage it continues: see
 * vma-deframer.ts.
 */

import type { ClusterHashing } from '../../codecs/hashing/cluster-hashing.ts'
import { behindText, goesOnBehind } from '../../core/behind.ts'
import { ByteQueue } from '../../core/byte-queue.ts'
import type { Counters } from '../../core/counters.ts'
import { VmapipeError } from '../../core/errors.ts'
import type { ClusterSpan, Findings } from '../../core/findings.ts'
import { BLOCK_SIZE } from '../../core/geometry.ts'
import { type Chunk, type ClusterItem, type Gap, type Manifest, Run } from '../../core/items.ts'
import type { Resumable } from '../../core/resumed-work.ts'
import type { StageContext } from '../../core/stage.ts'
import { HASH_BYTES, storedHashes } from '../../formats/vma/cluster-hash.ts'
import { EXTENT_HEADER_SIZE, type Slot } from '../../formats/vma/extent.ts'
import { checkExtent, hasHashes, hashesMatch, isCheckable, masksOf } from '../../formats/vma/extent-check.ts'
import { decodeHeader, headerSize } from '../../formats/vma/header.ts'
import { TrailerCheck } from '../../formats/vma/trailer-check.ts'
import { type Extent, ExtentReader } from './extent-reader.ts'
import { LookAhead } from './look-ahead.ts'
import { admit, clustersOf, keptBlocks, slotRuns, spanText, storedBytes } from './slot-runs.ts'
import { Unchecked } from './unchecked.ts'

/** The number of bytes that are needed to recognise what begins. */
const START = 4
/** Bytes of the header that tell its size. */
const HEADER_START = 60

export class Deframer {
  readonly #queue = new ByteQueue()
  readonly #counters: Counters
  readonly #stage: string
  readonly #findings: Findings
  readonly #unchecked = new Unchecked()
  /** All are set when the header has come. */
  #ahead: LookAhead | null = null
  #extents: ExtentReader | null = null
  #trailer: TrailerCheck | null = null
  /** Whether the first extent has a checksum: then the archive must have a closing extent. Null before the first extent. */
  #hasChecksums: boolean | null = null
  /** Whether the archive lacks clusters that are unchanged since its parent: then only a closing extent says that it is whole. */
  #isIncremental = false
  /** Whether that checksum is made of hashes: then the archive has hash records too. */
  #hasHashes = false
  readonly #hashing: ClusterHashing
  /** Chunks that have come, and are not in the queue yet. */
  readonly #waiting: Chunk[] = []
  /** What the last chunk in the queue has behind its bytes. */
  #gap: Gap | null = null
  /** Whether the archive has ended: further bytes do not belong to it. */
  #isOver = false
  readonly #warn: (message: string) => void

  constructor(findings: Findings, { counters, name, warn }: StageContext, hashing: ClusterHashing) {
    this.#warn = warn
    this.#hashing = hashing
    this.#findings = findings
    this.#counters = counters
    this.#stage = name
  }

  /** Bytes that have come, and are not passed on. */
  get held(): number {
    return this.#waiting.reduce((sum, { byteLength }) => sum + byteLength, this.#queue.length)
  }

  add(chunk: Chunk): void {
    this.#waiting.push(chunk)
  }

  /** Gives the clusters of what has come. Of a promise it wants to have the value. */
  *clusters(): Resumable<ClusterItem> {
    while (this.#waiting.length > 0) {
      yield* this.#wholeExtents()
      if (this.#isOver) this.#passOverRest()
      if (this.#gap !== null) this.#passOver(this.#gap)
      this.#gap = null
    }
  }

  /** Up to the next gap. */
  *#wholeExtents(): Resumable<ClusterItem> {
    this.#accept()
    if (this.#extents === null) {
      const manifest = this.#header()
      if (manifest === null) return
      yield manifest
    }
    while (!this.#endsHere()) {
      const extent = this.#extents!.next()
      if (extent === null) return
      yield* this.#runs(extent)
      this.#accept()
    }
  }

  /** Nothing that follows a gap must be taken for what follows the bytes before it. */
  #accept(): void {
    while (this.#gap === null && this.#waiting.length > 0) {
      const chunk = this.#waiting.shift()!
      this.#gap = chunk.gap
      this.#queue.push(chunk)
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
    const uuid = Buffer.from(manifest.uuid)
    this.#ahead = new LookAhead(this.#queue, uuid, this.#hashing)
    this.#extents = new ExtentReader(this.#queue, uuid, this.#ahead, (error) => {
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

  *#runs(extent: Extent): Resumable<Run> {
    const { slots, blocks, checksum, record, offset } = extent
    this.#counters.add('archive', EXTENT_HEADER_SIZE + blocks * BLOCK_SIZE)
    this.#hasHashes ||= this.#hasChecksums === null && hasHashes(extent)
    this.#hasChecksums ??= checksum !== null
    if (record !== null) return this.#atEnd((trailer) => trailer.see(record, offset))
    const hashing = this.#ahead!.hashes(extent)
    const hashes = hashing instanceof Promise ? ((yield hashing) as Uint8Array) : hashing
    const matches = this.#matches(extent, hashes)
    if (!isCheckable(extent)) this.#leaveUnchecked(extent)
    else if (!matches && this.#isLost(extent)) return
    const sound = matches ? hashes : null
    this.#account(extent, sound)
    for (const run of slotRuns(slots)) yield* this.#pass(run, extent, sound)
  }

  /** Whether the data has the checksum of the extent. `hashes` are those of its clusters, if the checksum is made of them. */
  #matches(extent: Extent, hashes: Uint8Array | null): boolean {
    const { hasher } = this.#hashing
    if (hashes !== null) return hashesMatch(extent, hashes, hasher)
    return isCheckable(extent) && checkExtent(extent, this.#queue.look(extent.blocks * BLOCK_SIZE), hasher)
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
