/**
 * One backup of drives that a guest is writing to. All of them switch at one instant, the point in time. From then on old data goes
 * into the archive before it is overwritten. The guest always wins: if the backup fails for any reason, or a request of the guest
 * has waited for as long as is allowed, every write continues at once.
 */

import { randomUUID } from 'node:crypto'
import type { Writable } from 'node:stream'
import type { Arena } from '../core/arena.ts'
import type { Budget } from '../core/budget.ts'
import { Counters } from '../core/counters.ts'
import { VmapipeError } from '../core/errors.ts'
import { CLUSTER_SIZE } from '../core/geometry.ts'
import type { Run } from '../core/items.ts'
import { definePipeline } from '../core/pipeline.ts'
import { DEFAULT_BUDGET } from '../core/run-options.ts'
import type { BoundStage, StageContext } from '../core/stage.ts'
import { clusterSource } from '../stages/cluster-source.ts'
import { AdjustableRate, rateLimit } from '../stages/rate-limit.ts'
import { sink } from '../stages/sink.ts'
import { vmaFramer } from '../stages/vma-framer.ts'
import { type Guest, writeInterceptor } from '../stages/write-interceptor.ts'
import { zeroElider } from '../stages/zero-elider.ts'
import type { UnfinishedWrite } from './cluster-states.ts'
import { courtesy } from './courtesy.ts'
import { type CopyHost, DriveCopy } from './drive-copy.ts'
import type { GuestDrive } from './guest-drive.ts'
import { GuestFigures, type GuestStatus } from './guest-figures.ts'
import { Progress } from './progress.ts'
import type { NextGeneration } from './tracking/change-tracker.ts'

export const DEFAULT_MAX_STALL = 10_000

/** Milliseconds. Ten minutes is longer than a file server takes to come back, or a tape to be changed. */
const DEFAULT_MAX_HANG = 600_000

/** Clusters per extent of a live backup (1 MiB). Kept small because framing an extent blocks the event loop, and with it the guest. */
export const PIECE_CLUSTERS = 16

/** Bytes of copies that an extent which is not full may hold: some small copies, and a large one whose rest has been written. */
const EXTENT_HOLDS = 2 * PIECE_CLUSTERS * CLUSTER_SIZE

function requestsOf(drives: readonly GuestDrive[]): number {
  return drives.reduce((sum, { requests }) => sum + requests, 0)
}

export interface LiveBackupOptions {
  drives: Record<string, GuestDrive>
  /** Contents by name. */
  configs?: Record<string, Uint8Array<ArrayBuffer>>
  /** Takes the archive; or a stage that takes the clusters as they are. */
  to: Writable | BoundStage
  uuid?: string
  /** Of the parent of an incremental archive: clusters that have not changed since are left out, if it is known which these are. */
  since?: string
  /** Names of drives of which nothing is left out. */
  whole?: readonly string[]
  /** Bytes of old data that may wait in memory. */
  buffer?: number
  /** Memory that the buffer is taken from, as far as it reaches. */
  arena?: Arena
  /** Milliseconds that a guest's request waits for the backup at most. */
  maxStall?: number
  /** Milliseconds for which nothing of the archive may be taken. */
  maxHang?: number
  /** Bytes a second that are scanned at most; the guest is never limited. */
  bwlimit?: number
  /** Checksums and an index in the stream; true unless given. */
  checksums?: boolean
  signal?: AbortSignal
}

/** Which clusters of a drive a backup with a parent reads: those that may have changed, or all and why. */
export type ChangesUsed = { changed: number } | { all: string }

/** With the uuid of the archive, and by drive what is read of it if there is a parent. */
export type LiveBackupStatus = GuestStatus & {
  uuid: string
  parent?: { uuid: string; drives: Record<string, ChangesUsed> }
}

export class LiveBackup implements CopyHost {
  /** Bytes a second that are scanned. */
  readonly rate: AdjustableRate
  readonly maxStall: number
  readonly #uuid: string
  readonly #options: LiveBackupOptions
  readonly #counters = new Counters()
  readonly figures: GuestFigures
  /** What was taken of the archive. Copies for the guest do not count: they are made as long as there is room. */
  readonly #progress = new Progress(
    () => this.figures.scanned + (this.#budget?.returned ?? 0) + this.#counters.get('written'),
  )
  readonly #controller = new AbortController()
  readonly #copies: { drive: GuestDrive; copy: DriveCopy }[]
  #next: NextGeneration[] = []
  readonly #used: Record<string, ChangesUsed> = {}
  #budget: Budget | null = null
  #emit: (run: Run) => void = () => {}

  constructor(options: LiveBackupOptions) {
    this.#options = options
    this.rate = new AdjustableRate(options.bwlimit)
    this.#uuid = options.uuid ?? randomUUID()
    this.maxStall = options.maxStall ?? DEFAULT_MAX_STALL
    const drives = Object.values(options.drives)
    this.figures = new GuestFigures(
      drives.map(({ size }) => size),
      this.#counters,
    )
    this.#copies = drives.map((drive, index) => ({
      drive,
      copy: new DriveCopy(drive.disk, index + 1, this),
    }))
  }

  /** Resolves when the archive is complete. Fails as any pipeline does; the guest goes on in every case. */
  async run(): Promise<void> {
    this.#next = await this.#nextGenerations()
    try {
      await this.#run()
      this.#seal()
    } finally {
      for (const next of this.#next) next.abandon()
    }
  }

  async #run(): Promise<void> {
    const { drives, to, configs = {}, buffer = DEFAULT_BUDGET, arena, checksums = true, signal } = this.#options
    const readers = Object.keys(drives).map((name, index) => [name, this.#copies[index].copy.reader])
    const signals = [this.#controller.signal, ...(signal === undefined ? [] : [signal])]
    await definePipeline([
      clusterSource({ drives: Object.fromEntries(readers), configs, uuid: this.#uuid }),
      rateLimit({ rate: Number.MAX_SAFE_INTEGER, dial: this.rate }),
      courtesy({ requests: () => requestsOf(Object.values(drives)), pressed: () => this.#pressed }),
      writeInterceptor({ guest: this.#guest() }),
      ...('definition' in to
        ? [to]
        : [zeroElider(), vmaFramer({ slots: PIECE_CLUSTERS, checksums, index: checksums }), sink({ to })]),
    ]).run({ buffer, arena, counters: this.#counters, signal: AbortSignal.any(signals) })
  }

  /** Gives the backup up; the guest goes on. */
  abort(reason: VmapipeError): void {
    this.fail(reason)
  }

  get status(): LiveBackupStatus {
    const { since } = this.#options
    return {
      uuid: this.#uuid,
      ...(since !== undefined && this.figures.since > 0 && { parent: { uuid: since, drives: this.#used } }),
      ...this.figures.status,
    }
  }

  /** The guest as the write interceptor sees it. */
  #guest(): Guest {
    return {
      begin: (context, emit) => this.#begin(context, emit),
      settled: async () => {
        await Promise.all(this.#copies.map(({ copy }) => copy.settled()))
      },
      end: () => this.#end(),
    }
  }

  #begin({ budget, counters }: StageContext, emit: (run: Run) => void): void {
    this.#budget = budget
    this.#emit = emit
    this.figures.begin({ budget, counters })
    this.figures.since = Date.now() / 1000
    // The point in time. Nothing can come in between, because nothing here waits.
    const before = this.#copies.map(({ drive, copy }) => drive.intercept(copy))
    for (const [index, { copy }] of this.#copies.entries()) {
      this.#limit(index, before[index])
      copy.waitFor(before[index])
    }
    this.figures.waiting.watch(this.maxStall, (waited) => this.#giveUp(waited))
    const allowed = this.#maxHang
    this.#progress.watch(allowed, (waited) => this.#hangs(waited, allowed))
  }

  /** What changes from now on is tracked anew. What has changed until now is archived, if that is known and wanted. */
  #limit(index: number, before: readonly UnfinishedWrite[]): void {
    const changes = this.#next[index]?.begin()
    if (changes === undefined || this.#options.since === undefined) return
    const name = Object.keys(this.#options.drives)[index]
    if ('unknown' in changes) {
      this.#used[name] = { all: changes.unknown || 'the parent does not have it in this size' }
      return
    }
    const { clusters } = changes
    for (const { first, last } of before) clusters.include(first, last)
    const { count, size } = clusters
    this.#used[name] = { changed: count }
    this.figures.leaveOut(size - count)
    this.#copies[index].copy.limitTo(clusters)
  }

  #nextGenerations(): Promise<NextGeneration[]> {
    const { drives, since = null, whole = [] } = this.#options
    const all = Object.values(drives)
    if (since === null && !all.some(({ isTracked }) => isTracked)) return Promise.resolve([])
    return Promise.all(
      Object.entries(drives).map(([name, drive]) =>
        drive.nextGeneration(this.#uuid, whole.includes(name) ? null : since),
      ),
    )
  }

  /** Makes what is in the archive durable on the drives too: after a power failure they are compared with it. */
  #seal(): void {
    for (const [index, { drive }] of this.#copies.entries()) {
      if (!drive.isTracked) continue
      const flushed = async () => drive.flush()
      flushed().then(
        () => this.#next[index].seal(),
        () => {},
      )
    }
  }

  /** With a limit of the scan each piece takes longer: twice the time of one piece is allowed at least. */
  get #maxHang(): number {
    const { maxHang = DEFAULT_MAX_HANG } = this.#options
    const { bytes: bwlimit } = this.rate
    return bwlimit === Number.POSITIVE_INFINITY
      ? maxHang
      : Math.max(maxHang, (2000 * PIECE_CLUSTERS * CLUSTER_SIZE) / bwlimit)
  }

  #end(): void {
    this.figures.waiting.unwatch()
    this.#progress.unwatch()
    for (const { drive, copy } of this.#copies) {
      drive.release()
      copy.end()
    }
  }

  /**
   * Whether copies wait for the sink: the scan would take their turn and their room. Some copies are held for another reason: by an
   * extent that is not full, or by a process that shares our memory (up to an eighth of it, see control/client.ts).
   */
  get #pressed(): boolean {
    const { capacity, lent } = this.#budget!
    return lent > Math.max(capacity / 4, EXTENT_HOLDS)
  }

  #hangs(waited: number, allowed: number): void {
    const seconds = (milliseconds: number) => Math.round(milliseconds / 100) / 10
    const message = `nothing of the archive has been taken for ${seconds(waited)} s, ${seconds(allowed)} s are allowed: the backup was given up (${this.figures.reached})`
    this.fail(
      new VmapipeError('FAILED', message, { hint: 'see why its target or reader hangs, or allow a longer --max-hang' }),
    )
  }

  #giveUp(waited: number): void {
    const hint = 'a faster target, a larger --buffer or a larger --max-stall'
    this.fail(this.figures.stalled(waited, this.maxStall, hint))
  }

  // What DriveCopy needs

  get budget(): Budget {
    return this.#budget!
  }

  emit(run: Run): void {
    this.figures.countArchived(run)
    this.#emit(run)
  }

  fail(error: unknown): void {
    // The guest continues first.
    this.#end()
    this.#controller.abort(
      error instanceof VmapipeError
        ? error
        : new VmapipeError('FAILED', `old data of the guest cannot be read: ${(error as Error)?.message}`, {
            cause: error,
          }),
    )
  }
}
