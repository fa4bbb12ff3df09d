/**
 * Tracks durably which regions of a drive a guest writes to. A region is marked on disk before its first write since the last point
 * in time is carried out, so the marks survive a kill and a power failure. Further writes to it cost a comparison.
 *
 * A generation is a bitmap of what was written from one point in time to the next. What has changed since an archive is all
 * generations from that archive's on. A failed backup leaves one more generation, and nothing has to be undone.
 *
 * If anything goes wrong here, the guest's writes go on, and nothing is known any more (lose). Until that is on disk, or the record
 * has run out that says until when the marks hold, a write to a region without a mark waits: so an unmarked write is never missed.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { asVmapipeError } from '../../core/errors.ts'
import { clusterCount } from '../../core/geometry.ts'
import type { DiskIdentity } from '../../storage/disk.ts'
import { FlushGate } from '../../storage/disks/flush-gate.ts'
import { dropOldest, startOf } from './generations.ts'
import { TICK } from './image-identity.ts'
import { Lifetime } from './lifetime.ts'
import { Marks } from './marks.ts'
import { RegionClusters, Regions, regionSize } from './regions.ts'
import { type Generation, type Head, newNumber, SLOTS, type TrackFile } from './track-file.ts'

/** Milliseconds after which the folder of the marks counts as dead. */
const PATIENCE = 5000

/** The most characters of a reason in the file. */
const MOST_REASON = 300

/** Since when it is known what has changed. */
export interface TrackedSince {
  /** Uuids, from the oldest archive to the newest. */
  archives: string[]
  /** Why nothing is known of the time before these. */
  reason: string
}

/** What is known about the time since an archive: the clusters that may have changed, or why nothing is known. */
export type Changes = { clusters: RegionClusters } | { unknown: string }

/** A generation that begins at the next point in time, if `begin` is called there. */
export interface NextGeneration {
  /** Begins it, in the same turn of the event loop as everything else of a point in time. Gives what has changed until now. */
  begin(): Changes
  /** There was no point in time. */
  abandon(): void
  /** All that was written before the point in time is durable. */
  seal(): void
}

interface Start {
  head: Head
  marks: Marks | null
}

export class ChangeTracker {
  readonly #file: TrackFile
  readonly #head: Head
  readonly #warn: (message: string) => void
  readonly #lifetime: Lifetime
  #marks: Marks | null
  #gate: FlushGate
  /** Nothing is known, and all who must not believe otherwise know it: writes need no marks. */
  #isFree: boolean
  /** Resolves when it is free, after something was lost. */
  #release: Promise<void> | null = null
  #queue: Promise<unknown> = Promise.resolve()
  #isClosed = false

  /** `start` as `openTracker` has read and written it. */
  constructor(file: TrackFile, { head, marks }: Start, warn: (message: string) => void = () => {}) {
    this.#file = file
    this.#head = head
    this.#marks = marks
    this.#isFree = marks === null
    this.#warn = warn
    this.#gate = this.#newGate()
    this.#lifetime = new Lifetime(
      (until) => this.#queued(() => file.writeUntil(head.use, until)),
      () => this.#queued(() => file.sync()),
      (error) => this.lose(`how long the marks hold cannot be written: ${asVmapipeError(error).message}`),
    )
  }

  get tracked(): TrackedSince {
    const { generations, lost } = this.#head
    return { archives: generations.flatMap(({ names }) => names), reason: lost }
  }

  /** Whether writes to these clusters may be carried out now. Costs next to nothing. */
  covers(first: number, last: number): boolean {
    if (this.#isFree) return true
    if (!this.#marks!.areDurable(first, last)) return false
    this.#lifetime.extend()
    return true
  }

  /** Marks these clusters. Never fails. Look again when it is done: there may have been another point in time meanwhile. */
  async cover(first: number, last: number): Promise<void> {
    if (this.#isFree) return
    if (this.#release === null) {
      this.#marks!.add(first, last)
      await this.#gate.flush().catch((error) => this.lose(`a mark cannot be written: ${asVmapipeError(error).message}`))
    }
    await this.#release
  }

  /** From now on nothing is known. Writes go on. */
  lose(reason: string): void {
    if (this.#release !== null || this.#isFree || this.#isClosed) return
    this.#forget(reason)
    this.#warn(
      `${this.#head.drive}: changes are not tracked any more, the next backup reads the whole drive: ${reason}`,
    )
    const until = this.#lifetime.end()
    const noted = this.#queued(() => this.#file.writeHead(this.#head))
    const over = sleep(Math.max(0, until + TICK - Date.now()))
    this.#release = Promise.race([noted.catch(() => over), over]).then(() => {
      this.#isFree = true
      this.#marks = null
      this.#release = null
    })
  }

  /** Prepares the generation of the archive `uuid`. `since`: what has changed since this one will be asked. Never fails. */
  async prepare(uuid: string, since: string | null): Promise<NextGeneration> {
    await this.#release
    const [name, parent] = [canonical(uuid), since && canonical(since)]
    const failed = (error: unknown) => {
      const reason = `changes cannot be tracked: ${asVmapipeError(error).message}`
      this.lose(reason)
      if (this.#isFree) this.#forget(reason)
      return null
    }
    const stale = new AbortController()
    const added = await within(
      this.#queued(() => this.#add(name, stale.signal)),
      () => stale.abort(),
    ).catch(failed)
    if (added === null) return untracked(this.#head.lost)
    const older = await within(this.#older(parent, added)).catch(failed)
    if (older === null) return untracked(this.#head.lost)
    return {
      begin: () => this.#begin(added, older),
      abandon: () => this.#abandon(added),
      seal: () => this.#seal(added),
    }
  }

  /** The drive may have lost what was written to it: what archives have of it is not known any more. */
  flushFailed(error: unknown): void {
    this.lose(`a flush of the drive failed: ${asVmapipeError(error).message}`)
  }

  /** Nothing is written any more, and all that was written is durable. `image` as it is now. */
  async close(image: () => Promise<DiskIdentity | null>): Promise<void> {
    await this.#release
    this.#isClosed = true
    this.#lifetime.end()
    try {
      // An image that is written to from now on gets another time.
      await sleep(TICK)
      for (const generation of this.#head.generations) generation.sealed = true
      const head = { ...this.#head, closed: true, image: await image() }
      await within(this.#queued(() => this.#file.writeHead(head)))
    } catch {
      // Then the file is that of a service that was killed.
    } finally {
      await within(this.#file.close()).catch(() => {})
    }
  }

  async #add(uuid: string, stale: AbortSignal): Promise<Generation> {
    const head = this.#head
    if (this.#isFree) this.#gate = this.#newGate()
    if (head.generations.length === SLOTS) await this.#merge(stale)
    const slots = new Set(head.generations.map(({ slot }) => slot))
    const slot = Array.from({ length: SLOTS }, (_, index) => index).find((index) => !slots.has(index))!
    // A uuid that was used before means the older archive too.
    const isKnown = head.generations.some(({ names }) => names.includes(uuid))
    const generation: Generation = { slot, serial: newNumber(), names: isKnown ? [] : [uuid], sealed: false }
    await this.#file.writeBitmap(generation, this.#regions())
    await this.#file.sync()
    stale.throwIfAborted()
    head.generations.push(generation)
    dropOldest(head)
    await this.#file.writeHead(head)
    stale.throwIfAborted()
    return generation
  }

  /** Makes one of the two oldest generations: the names of both then stand for all that was written in both. */
  async #merge(stale: AbortSignal): Promise<void> {
    const { generations } = this.#head
    const [first, second] = generations
    const both = this.#regions()
    await this.#file.readBitmap(first, both)
    await this.#file.readBitmap(second, both)
    await this.#file.writeBitmap(first, both)
    await this.#file.sync()
    stale.throwIfAborted()
    first.names.push(...second.names)
    generations.splice(1, 1)
  }

  /** What was written from the archive `since` on, without the newest generation, which is in memory. */
  async #older(since: string | null, added: Generation): Promise<Changes & { regions?: Regions }> {
    if (since === null) return { unknown: '' }
    const { generations, lost } = this.#head
    const from = startOf(generations, since, added)
    if (from < 0) return { unknown: lost || 'the parent is older than what is tracked, or of another guest' }
    const regions = this.#regions()
    for (const generation of generations.slice(from, generations.indexOf(added))) {
      if (generation !== this.#marks?.generation) await this.#queued(() => this.#file.readBitmap(generation, regions))
    }
    return { clusters: new RegionClusters(regions, clusterCount(this.#head.size)), regions }
  }

  #begin(added: Generation, older: Changes & { regions?: Regions }): Changes {
    // Lost meanwhile.
    if (!this.#head.generations.includes(added)) return { unknown: this.#head.lost }
    if (this.#marks !== null) older.regions?.include(this.#marks.regions.bits)
    this.#marks = new Marks(added, this.#head.size, this.#head.region)
    this.#isFree = false
    this.#lifetime.begin()
    return older
  }

  #abandon(added: Generation): void {
    const { generations } = this.#head
    const index = generations.indexOf(added)
    if (index < 0 || this.#marks?.generation === added) return
    generations.splice(index, 1)
    // In the file it may stay: there is no such archive.
  }

  #seal(added: Generation): void {
    if (this.#release !== null || this.#isClosed || !this.#head.generations.includes(added)) return
    added.sealed = true
    void this.#queued(() => this.#file.writeHead(this.#head)).catch((error) =>
      this.lose(`the record of changes cannot be written: ${asVmapipeError(error).message}`),
    )
  }

  #forget(reason: string): void {
    this.#head.generations = []
    this.#head.lost = reason.slice(0, MOST_REASON)
  }

  #regions(): Regions {
    return new Regions(this.#head.size, this.#head.region)
  }

  #newGate(): FlushGate {
    return new FlushGate(() =>
      within(this.#queued(async () => this.#marks?.sync(this.#file)).then(() => this.#lifetime.hold())),
    )
  }

  /** One after the other: what hangs must not overwrite later what is newer. */
  #queued<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#queue.then(work)
    this.#queue = done.catch(() => {})
    return done
  }
}

/** As it is in the file, however it was written. */
function canonical(uuid: string): string {
  return uuid.toLowerCase().replaceAll('-', '')
}

/** The generation of a drive that is not tracked. */
export function untracked(reason: string): NextGeneration {
  return { begin: () => ({ unknown: reason }), abandon() {}, seal() {} }
}

async function within<T>(work: Promise<T>, onLate: () => void = () => {}): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      onLate()
      reject(new Error(`the folder of --track has not answered for ${PATIENCE / 1000} s`))
    }, PATIENCE)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
    work.catch(() => {})
  }
}

export function emptyHead(drive: string, size: number, lost: string): Head {
  return {
    version: 1,
    ...{ drive, size, region: regionSize(size), use: newNumber(), closed: false, boot: '', image: null },
    lost: lost.slice(0, MOST_REASON),
    generations: [],
  }
}
