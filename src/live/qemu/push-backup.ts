/**
 * A backup of a guest whose QEMU pushes old data to us: the reader of every drive for the cluster source, and the guest
 * for the write interceptor. The point in time is when the scan first looks at a drive: by then every stage is open, and
 * a target that cannot be written has left the guest alone.
 *
 * The guest always wins: when the backup ends, for whatever reason, every push is answered at once, then everything
 * that was put into QEMU is taken out.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Budget } from '../../core/budget.ts'
import { ClusterSet } from '../../core/cluster-set.ts'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import { CLUSTER_SIZE } from '../../core/geometry.ts'
import type { Run } from '../../core/items.ts'
import { mayBeLeft } from '../../core/left-behind.ts'
import type { BoundStage, StageContext } from '../../core/stage.ts'
import type { NbdClient } from '../../protocol/nbd/client.ts'
import type { ClaimedReader } from '../../stages/cluster-source/claims.ts'
import type { Guest } from '../../stages/write-interceptor.ts'
import { courtesy } from '../courtesy.ts'
import { GuestFigures, type GuestStatus } from '../guest-figures.ts'
import type { Attachment, PushDrive } from './attachment/attachment.ts'
import { footprintOf } from './attachment/footprint.ts'
import { OverlayError } from './attachment/overlays.ts'
import type { QemuConnection } from './connection.ts'
import { explainPull } from './pull-errors.ts'
import { type PushHost, PushTarget } from './push-target.ts'
import { RAM_NAME, type RamSnapshot } from './ram/ram-snapshot.ts'
import { RamStream } from './ram/ram-stream.ts'
import { SnapshotReader } from './snapshot-reader.ts'

/** Milliseconds that the removal may take when the process is to end: as long as QEMU answers, and how long it may be silent. */
const PATIENCE_MS = 10_000
const SILENCE_MS = 1000
const LOOK_MS = 50

interface PushBackupOptions {
  drives: readonly PushDrive[]
  connection: QemuConnection
  attachment: Attachment
  /** The guest's memory, if it is archived too; `attachment` starts it. */
  ram?: RamSnapshot | null
  /** Why drives are read as a whole although only changed clusters were wanted, by name. */
  reasons?: Readonly<Record<string, string>>
  /** Milliseconds that a push waits at most. */
  maxStall: number
  /** In words, if QEMU allows less than was asked for. */
  cut?: string | null
  /** Is called with the point in time, in seconds since the epoch. */
  onPointInTime?: (since: number) => void
}

export class PushBackup implements PushHost {
  /** Readers by the drive's name in the archive. */
  readonly readers: Record<string, ClaimedReader>
  /** One for each drive, for the server that QEMU pushes to. */
  readonly targets: readonly PushTarget[]
  readonly ram: RamStream | null
  readonly #options: PushBackupOptions
  /** Copied is what QEMU has pushed before a write of the guest. */
  readonly #figures: GuestFigures
  readonly #controller = new AbortController()
  readonly #over = Promise.withResolvers<void>()
  #context: StageContext | null = null
  #emit: (run: Run) => void = () => {}
  #pushes = 0
  #started: Promise<NbdClient[] | null> | null = null
  #detached: Promise<void> | null = null
  #isOut: () => void = () => {}
  #ended = false
  #overlay: OverlayError | null = null
  /** What is to be read of each drive; null for all of it. */
  #changed: (ClusterSet | number | null)[] = []

  constructor(options: PushBackupOptions) {
    this.#options = options
    const { drives, ram } = options
    this.ram = ram ? this.#ramStream(ram) : null
    this.targets = drives.map(({ size }, index) => new PushTarget(index + 1, size, this))
    this.readers = Object.fromEntries(
      this.targets.map((target, index) => [drives[index].name, new SnapshotReader(target, this.#puller(index))]),
    )
    if (this.ram !== null) this.readers[RAM_NAME] = this.ram.reader
    this.#figures = new GuestFigures(this.#parts.map(({ size }) => size))
  }

  /** Aborted, with the reason, when the backup cannot go on. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** The overlays that the owner of the guest has to mend, whatever becomes of the backup. */
  get overlay(): OverlayError | null {
    return this.#overlay
  }

  /** To be called while QEMU answers: it may end before our filters are taken out. */
  async lookForOverlays(): Promise<void> {
    const { overlays } = await footprintOf(this.#options.connection.qmp)
    if (overlays.length > 0) this.#overlay ??= new OverlayError(overlays)
  }

  get status(): GuestStatus {
    return this.#figures.status
  }

  /**
   * For the scan, between its source and the write interceptor: what QEMU reads for it takes QEMU's own time, and a push is a write of the
   * guest that waits. The scan rests in full if there is a push for every second one of its clusters.
   */
  get courtesy(): BoundStage {
    return courtesy({ requests: () => this.#pushes, crowd: 0.5, pressed: () => false })
  }

  /** The guest as the write interceptor sees it. */
  get guest(): Guest {
    return {
      begin: (context, emit) => this.#begin(context, emit),
      settled: () => this.#settled(),
      end: (error) => this.#end(error),
    }
  }

  get #parts(): readonly (PushTarget | RamStream)[] {
    return this.ram === null ? this.targets : [...this.targets, this.ram]
  }

  #begin(context: StageContext, emit: (run: Run) => void): void {
    this.#context = context
    this.#emit = emit
    this.#figures.begin(context)
    this.ram?.begin(context.budget)
    context.signal.addEventListener('abort', () => this.#letGo(), { once: true })
    void this.#options.connection.gone.then((error) => this.#ended || this.fail(error))
  }

  /** Waits until everything has come. Then it takes our nodes out of QEMU, while the archive is still being written. */
  async #settled(): Promise<void> {
    await Promise.race([Promise.all(this.#parts.map(({ whole }) => whole)), this.#over.promise])
    if (this.#ended) return
    this.#letGo()
    await this.#detach().catch((error) => this.#context!.warn(`the archive is whole, but ${(error as Error).message}`))
  }

  async #end(error: Error | null): Promise<void> {
    this.#letGo()
    try {
      await this.#detach()
    } catch (left) {
      // The run fails with the first error; but the guest's owner has to know of this one too.
      if (error !== null) this.#context?.warn(asVmapipeError(left).line)
    }
  }

  /** The guest continues first: all waiting pushes are answered, and no later one waits. */
  #letGo(): void {
    this.#ended = true
    for (const part of this.#parts) part.end()
    this.#figures.waiting.unwatch()
    this.#over.resolve()
  }

  #detach(): Promise<void> {
    this.#detached ??= this.#takeOut()
    return this.#detached
  }

  async #takeOut(): Promise<void> {
    if (this.#started === null) return
    const clients = await this.#started.catch(() => null)
    await Promise.all((clients ?? []).map((client) => client.close()))
    const { connection, attachment } = this.#options
    try {
      await connection.lastly((qmp) => attachment.remove(qmp))
    } catch (error) {
      // Everything else was taken out. `detach` could do no more.
      if (!(error instanceof OverlayError)) throw error
      this.#overlay = error
    }
    this.#isOut()
  }

  /** For a process that ends at once: sets the guest free before that, as long as its QEMU answers. */
  async #leave(): Promise<void> {
    this.#letGo()
    const removed = this.#detach().then(() => true)
    while (!(await Promise.race([removed, sleep(LOOK_MS, false)]))) {
      if (this.#options.connection.qmp.silence > SILENCE_MS) throw new Error('QEMU does not answer')
    }
  }

  #ramStream(ram: RamSnapshot): RamStream {
    const { drives, connection } = this.#options
    const outcome = () =>
      ram.outcome(connection.qmp).catch(async (error) => {
        throw await explainPull(error, connection)
      })
    return new RamStream({ drive: drives.length + 1, size: ram.size, host: this, outcome })
  }

  // What SnapshotReader needs

  #puller(index: number) {
    return {
      pull: async () => (await this.#start())?.[index] ?? null,
      whole: () => this.#options.reasons?.[this.#options.drives[index].name] ?? null,
      changed: () => (this.#changed[index] instanceof ClusterSet ? this.#changed[index] : null),
      explain: (error: unknown) => explainPull(error, this.#options.connection),
      fail: (error: unknown) => this.fail(error),
    }
  }

  #start(): Promise<NbdClient[] | null> {
    this.#started ??= this.#attach()
    return this.#started
  }

  async #attach(): Promise<NbdClient[] | null> {
    const { attachment, connection, maxStall } = this.#options
    if (this.#ended) throw new VmapipeError('ABORTED', 'aborted')
    const remove = () => this.#leave()
    this.#isOut = mayBeLeft({
      what: 'filters in QEMU, which `vmapipe detach` takes out',
      remove,
      patience: PATIENCE_MS,
    })
    this.#figures.waiting.watch(maxStall, (waited) => this.#giveUp(waited))
    try {
      const failed = async (error: VmapipeError) => this.fail(await explainPull(error, connection))
      await attachment.insert(connection.qmp, { failed, done: () => this.#pushedAll() })
      this.#figures.since = Date.now() / 1000
      this.#changed = (await attachment.changed?.(connection.qmp)) ?? []
      for (const [index, changed] of this.#changed.entries()) if (changed !== null) this.#leaveOut(index, changed)
      this.#options.onPointInTime?.(this.#figures.since)
      return await attachment.pull()
    } catch (error) {
      throw asVmapipeError(await explainPull(error, connection))
    }
  }

  #leaveOut(index: number, changed: ClusterSet | number): void {
    const unchanged = this.targets[index].expect(changed)
    this.#figures.leaveOut(unchanged)
    // The scan counts for itself what it leaves out.
    if (typeof changed === 'number') this.#context!.counters.add('total', -unchanged * CLUSTER_SIZE)
  }

  /** QEMU does not check what has become of its pushes, so whether all clusters have come is checked here. */
  #pushedAll(): void {
    const { total, scanned, copied } = this.status.clusters
    if (scanned + copied === total) return
    const message = `QEMU has pushed all it has, but only ${copied} of ${total} clusters have come`
    this.fail(new VmapipeError('FAILED', message))
  }

  #giveUp(waited: number): void {
    const { cut, maxStall } = this.#options
    const hint = cut
      ? `a faster target or a larger --buffer; ${cut}`
      : 'a faster target, a larger --buffer or a larger --max-stall'
    this.fail(this.#figures.stalled(waited, maxStall, hint))
  }

  // What PushTarget needs

  get budget(): Budget {
    return this.#context!.budget
  }

  emit(run: Run): void {
    this.#figures.countArchived(run)
    this.#context!.counters.add(run.isZero ? 'zero' : 'read', run.isZero ? run.count * CLUSTER_SIZE : run.byteLength)
    this.#emit(run)
  }

  fail(error: unknown): void {
    if (this.#ended) return
    this.#letGo()
    this.#controller.abort(asVmapipeError(error))
  }

  waits(): () => void {
    const wait = this.#figures.waiting.begin()
    return () => wait.end()
  }

  pushed(clusters: number): void {
    this.#pushes++
    this.#figures.countCopied(clusters)
  }

  scanned(clusters: number): void {
    this.#figures.countScanned(clusters)
  }
}
