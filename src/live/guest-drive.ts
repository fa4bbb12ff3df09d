/**
 * A guest's drive: the disk below, and during a backup the copy of old data before every write to it. No read waits for a copy here;
 * in the NBD server a read may wait behind writes that are held (protocol/nbd/server/window.ts). Without a backup a write costs a
 * comparison and an entry in a set. If changes are tracked, a write also waits until its regions are marked (tracking/), which most
 * are.
 */

import { CLUSTER_SIZE } from '../core/geometry.ts'
import { type Piece, piecesOf } from '../core/pieces.ts'
import type { LongWrite, ServedDisk } from '../protocol/nbd/server/export.ts'
import type { Disk, Done, WriteOptions, ZeroOptions } from '../storage/disk.ts'
import type { DriveExtent } from '../storage/drive.ts'
import type { UnfinishedWrite } from './cluster-states.ts'
import type { DriveCopy } from './drive-copy.ts'
import { Gate } from './gate.ts'
import { Patience } from './patience.ts'
import { type ChangeTracker, type NextGeneration, type TrackedSince, untracked } from './tracking/change-tracker.ts'
import { isHarmless } from './tracking/harmless.ts'
import type { Wait } from './waiting.ts'

interface Known {
  /** Since when the request has been waiting already, in milliseconds of `performance.now()`. */
  since?: number
}

/** A change that was given to the disk and that the disk has not done yet. */
interface Modification extends UnfinishedWrite {
  /** Set if the change comes in pieces and began before the point in time of this copy: all of its pieces belong to that. */
  before?: DriveCopy
}

/** What a change has done before it waits for its copies. */
interface Begun extends Known {
  wait?: Wait
  /** The copy that `wait` belongs to. */
  owner?: DriveCopy
  /** The long change that this one is a piece of. */
  whole?: Modification
}

/**
 * Bytes of a long zero or trim that are done at once, 1024 clusters: other requests are served in between, and copies are kept of
 * no more than one such piece.
 */
export const CHANGE_BYTES = 64 << 20

const NOT_TRACKED = 'the service does not track changes: it was started without --track'

export class GuestDrive implements Disk, ServedDisk {
  /** Only if the disk below has it. */
  readonly prefetch?: Disk['prefetch']
  /** The disk below, which a backup reads directly. */
  readonly disk: Disk
  readonly #modifications = new Set<Modification>()
  /** Null if changes are not tracked. */
  readonly #tracker: ChangeTracker | null
  /** Why not. */
  readonly #untracked: string
  #copy: DriveCopy | null = null
  #requests = 0

  /** `tracker`: or why changes are not tracked. */
  constructor(disk: Disk, tracker: ChangeTracker | string = NOT_TRACKED) {
    this.disk = disk
    this.#tracker = typeof tracker === 'string' ? null : tracker
    this.#untracked = typeof tracker === 'string' ? tracker : ''
    this.prefetch = disk.prefetch?.bind(disk)
  }

  get size(): number {
    return this.disk.size
  }

  get minBlock(): number | undefined {
    return this.disk.minBlock
  }

  get upstream(): Disk['upstream'] {
    return this.disk.upstream
  }

  /** The number of reads and changes that the guest has asked for. */
  get requests(): number {
    return this.#requests
  }

  get readOnly(): boolean {
    return this.disk.readOnly
  }

  get tracked(): TrackedSince {
    return this.#tracker?.tracked ?? { archives: [], reason: this.#untracked }
  }

  get isTracked(): boolean {
    return this.#tracker !== null
  }

  /** Prepares to track what changes from the point in time of the archive `uuid` on. `since`: of the archive that it is compared with. */
  async nextGeneration(uuid: string, since: string | null): Promise<NextGeneration> {
    return this.#tracker?.prepare(uuid, since) ?? untracked(this.#untracked)
  }

  /**
   * From the next request on, old data is copied before each write. Writes that the disk was given before belong to the point in
   * time as a whole. Those that are not done yet are returned, so that their clusters are not read before they are.
   */
  intercept(copy: DriveCopy): UnfinishedWrite[] {
    this.#copy = copy
    for (const modification of this.#modifications) modification.before = copy
    return [...this.#modifications]
  }

  /** The backup has ended, successfully or not. Writes are no longer intercepted. */
  release(): void {
    this.#copy = null
  }

  read(buffer: Uint8Array, offset: number): Done {
    this.#requests++
    return this.disk.read(buffer, offset)
  }

  /** Whether changes wait for a backup. */
  get isHolding(): boolean {
    return this.#copy?.isHolding ?? false
  }

  /** As of a ServedDisk. */
  queued(since?: number): (() => void) | undefined {
    if (!this.#copy?.isHolding) return undefined
    const wait = this.#copy.waits(since)
    return () => wait.end()
  }

  write(buffers: readonly Uint8Array[], offset: number, options?: WriteOptions & Known): Done {
    return this.#write(buffers, offset, options)
  }

  /** Either all of its pieces belong to a point in time, or none. */
  beginWrite(offset: number, length: number): LongWrite {
    const modification: Modification = { ...clustersOf({ offset, length }), gate: new Gate() }
    this.#modifications.add(modification)
    return {
      write: (buffers, at, options) => this.#write(buffers, at, options, modification),
      end: () => this.#isOver(modification),
    }
  }

  zero(offset: number, length: number, options: ZeroOptions & Known = {}): Done {
    const act = () => this.disk.zero(offset, length, options)
    if (length <= CHANGE_BYTES) return this.#modify(offset, length, this.#durably(act, options.fua), options.since)
    return this.#zeroInPieces(offset, length, options)
  }

  trim(offset: number, length: number, options?: WriteOptions & Known): Done {
    if (this.#copy === null && length <= CHANGE_BYTES)
      return this.#modify(
        offset,
        length,
        this.#durably(() => this.disk.trim(offset, length, options), options?.fua),
      )
    return this.#trimInPieces(offset, length, options)
  }

  flush(): Done {
    return this.#watched(() => this.disk.flush())
  }

  map(offset: number, length: number): AsyncIterable<DriveExtent> {
    return this.disk.map(offset, length)
  }

  /** Everything was flushed before. */
  async close(): Promise<void> {
    await this.#tracker?.close(async () => (await this.disk.identity?.()) ?? null)
    await this.disk.close()
  }

  #durably(act: () => Done, fua = false): () => Done {
    return fua ? () => this.#watched(act, isHarmless) : act
  }

  /** If a change cannot be made durable, earlier ones may be lost with it, unless the error is a harmless one. */
  #watched(act: () => Done, isHarmless: (error: unknown) => boolean = () => false): Done {
    if (this.#tracker === null) return act()
    const failed = (error: unknown) => {
      if (!isHarmless(error)) this.#tracker!.flushFailed(error)
      throw error
    }
    try {
      return act()?.catch(failed)
    } catch (error) {
      return failed(error)
    }
  }

  #isCovered(first: number, last: number): boolean {
    return this.#tracker === null || this.#tracker.covers(first, last)
  }

  #write(buffers: readonly Uint8Array[], offset: number, options?: WriteOptions & Known, whole?: Modification): Done {
    let length = 0
    for (const { byteLength } of buffers) length += byteLength
    const act = () => this.disk.write(buffers, offset, options)
    return this.#modify(offset, length, this.#durably(act, options?.fua), options?.since, whole)
  }

  /** The copy that a change has to wait for, as a piece of `whole` if it is one. */
  #copyFor(whole: Modification | undefined): DriveCopy | null {
    return this.#copy === whole?.before ? null : this.#copy
  }

  #modify(offset: number, length: number, act: () => Done, since?: number, whole?: Modification): Done {
    this.#requests++
    if (length === 0) return act()
    const { first, last } = clustersOf({ offset, length })
    const copy = this.#copyFor(whole)
    if (!this.#isCovered(first, last)) return this.#copyFirst([{ offset, length }], act, { since, whole })
    if (copy === null || copy.has(first, last)) return this.#act(first, last, act)
    const wait = copy.waits(since)
    if (copy.isLong(first, last) || copy.secure(first, last) !== undefined)
      return this.#copyFirst([{ offset, length }], act, { wait, owner: copy, whole })
    // Most copies await nothing: the copy for the next request is then made while the disk carries out this one.
    wait.end()
    return this.#act(first, last, act)
  }

  /** Copies the old data of each piece, then does `act`. */
  async #copyFirst(pieces: readonly Piece[], act: (piece: Piece) => Done, begun: Begun = {}): Promise<void> {
    let wait = begun.wait ?? null
    let owner = begun.owner ?? null
    try {
      for (const piece of pieces) {
        const { first, last } = clustersOf(piece)
        // When the backup that it waited for has ended, another one may have begun. Nothing is awaited between the last check and
        // the act, so no point in time comes in between.
        let copy = this.#copyFor(begun.whole)
        while (copy?.has(first, last) === false || !this.#isCovered(first, last)) {
          if (copy?.has(first, last) !== false) {
            // The mark is no wait for the backup.
            wait?.pause()
            await this.#tracker!.cover(first, last)
            copy = this.#copyFor(begun.whole)
            continue
          }
          if (copy !== owner) {
            wait?.end()
            wait = copy.waits(owner === null ? begun.since : undefined)
            owner = copy
          } else wait?.resume()
          for (let from = first; from <= last && this.#copy === copy; ) from = (await copy.secureSome(from, last)) + 1
          copy = this.#copyFor(begun.whole)
        }
        if (piece === pieces.at(-1)) wait?.end()
        else wait?.pause()
        await this.#act(first, last, () => act(piece))
      }
    } finally {
      wait?.end()
    }
  }

  async #zeroInPieces(offset: number, length: number, { fua, since, ...options }: ZeroOptions & Known): Promise<void> {
    this.#requests++
    const act = (piece: Piece) => {
      // If the first piece was fast, the others have to be done at any speed.
      const fast = options.fast && piece.offset === offset
      return this.disk.zero(piece.offset, piece.length, { ...options, fast })
    }
    await this.#copyFirst([...piecesOf(offset, length, CHANGE_BYTES)], act, { since })
    if (fua) await this.flush()
  }

  /**
   * Carries a trim out piece by piece, as far as the data that it throws away can be copied in time. A trim is only advice, so the
   * rest may be left out.
   */
  async #trimInPieces(offset: number, length: number, { fua, since }: WriteOptions & Known = {}): Promise<void> {
    this.#requests++
    const patience = new Patience(since)
    try {
      for (const piece of piecesOf(offset, length, CHANGE_BYTES)) {
        const { first, last } = clustersOf(piece)
        for (let from = first; from <= last; ) {
          const copy = this.#copy
          const done = copy === null || copy.has(from, last) ? last : await patience.secureSome(copy, from, last)
          if (done === null) return
          const part = within(piece, from, done)
          // Another backup may have begun meanwhile.
          await this.#copyFirst([part], () => this.disk.trim(part.offset, part.length))
          from = done + 1
        }
      }
      if (fua) await this.flush()
    } finally {
      patience.end()
    }
  }

  #act(first: number, last: number, act: () => Done): Done {
    const done = act()
    if (done === undefined) return undefined
    const modification = { first, last, gate: new Gate() }
    this.#modifications.add(modification)
    const over = () => this.#isOver(modification)
    return done.then(over, (error) => {
      over()
      throw error
    })
  }

  #isOver(modification: Modification): void {
    this.#modifications.delete(modification)
    modification.gate.open()
  }
}

function clustersOf({ offset, length }: Piece): { first: number; last: number } {
  return { first: Math.floor(offset / CLUSTER_SIZE), last: Math.floor((offset + length - 1) / CLUSTER_SIZE) }
}

/** The part of the piece that is in these clusters. */
function within({ offset, length }: Piece, first: number, last: number): Piece {
  const from = Math.max(offset, first * CLUSTER_SIZE)
  return { offset: from, length: Math.min(offset + length, (last + 1) * CLUSTER_SIZE) - from }
}
