/**
 * A restore whose guests are served at once. Data that a guest reads and the image does not have yet comes from the archive. Data
 * that a guest writes goes to the image. The rest is copied meanwhile. When the images are complete they are plain files, which
 * the guests go on using.
 */

import type { Archive } from '../access/archive.ts'
import { Budget } from '../core/budget.ts'
import { asVmapipeError, typableName, VmapipeError } from '../core/errors.ts'
import type { DriveInfo } from '../core/items.ts'
import { address, atLeastOne, checkOptions, flag, type Shape, text } from '../core/options.ts'
import { DEFAULT_BUDGET } from '../core/run-options.ts'
import { z } from '../core/stage.ts'
import type { ServiceStatus } from '../live/control/controlled-service.ts'
import { DiskFailures } from '../live/disk-failures.ts'
import { Demand, DemandedDrive } from '../live/restore/demand.ts'
import { FILL_BYTES, Filler, type FillTarget, type Missing } from '../live/restore/filler.ts'
import { RestoreFolder } from '../live/restore/restore-folder.ts'
import { Service, type ServiceOptions } from '../live/service.ts'
import type { SocketFileOptions } from '../protocol/socket-file.ts'
import type { Disk } from '../storage/disk.ts'
import { OverlayDisk } from '../storage/disks/overlay/overlay-disk.ts'
import { parseMode } from '../storage/file-mode.ts'
import { openArchive } from './open-archive.ts'
import { type RandomReadingOptions, randomReadingShape } from './random-reading.ts'

/** What is restored, where to, and where guests connect. */
export interface LiveRestoreOptions
  extends RandomReadingOptions,
    Pick<ServiceOptions, 'socket' | 'socketAccess' | 'listen' | 'control'> {
  /** The folder for the images and config files. It is made if it does not exist. */
  into: string
  /** Replaces files that exist. */
  force?: boolean
  /** Permissions of images and config files, such as `0640`. By default only their owner may read and write them. */
  mode?: string
  /** The most bytes a second that are copied while no guest asks for them. */
  bwlimit?: number
  /** Processor-bound tasks that run at once; the number of processors by default. */
  threads?: number
}

const shape = {
  ...randomReadingShape,
  into: text,
  socket: text,
  socketAccess: z.custom<SocketFileOptions>((value) => typeof value === 'object'),
  listen: address,
  control: text,
  force: flag,
  mode: text,
  bwlimit: atLeastOne,
  threads: atLeastOne,
} satisfies Shape<LiveRestoreOptions>

/**
 * Restores an archive while a guest already runs on it: the drives are NBD exports, which become images in the background. What the
 * guest reads goes first. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED.
 *
 *     const restored = await LiveRestore.open({ from: 'vm.vma.zst', into: 'vm', socket: '/run/vm1.nbd' })
 *     await restored.start()
 *     await restored.done
 *     await restored.stop()
 */
export class LiveRestore {
  /** Resolves when the images are complete. Rejects if they cannot be completed, or if the restore was stopped before. */
  readonly done: Promise<void>
  readonly #options: LiveRestoreOptions
  readonly #archive: Archive
  readonly #folder: RestoreFolder
  readonly #disks = new Map<string, Disk>()
  readonly #targets: FillTarget[] = []
  readonly #demand = new Demand()
  readonly #stopping = new AbortController()
  readonly #filler: Filler
  #service: Service | null = null
  #settle: { resolve: () => void; reject: (error: unknown) => void }
  #running: Promise<void> = Promise.resolve()

  private constructor(options: LiveRestoreOptions, archive: Archive, folder: RestoreFolder, memory: Budget) {
    this.#options = options
    this.#archive = archive
    this.#folder = folder
    const { promise, ...settle } = Promise.withResolvers<void>()
    this.done = promise
    this.#settle = settle
    promise.catch(() => {})
    const { bwlimit } = options
    const { signal } = this.#stopping
    this.#filler = new Filler(this.#targets, { memory, demand: this.#demand, signal, bwlimit })
  }

  /** Opens the archive and the images, or continues a restore that was stopped. If it fails, nothing is left open. Errors: USAGE, FAILED, DAMAGED, INCOMPLETE, ABORTED. */
  static async open(options: LiveRestoreOptions): Promise<LiveRestore> {
    checkOptions('LiveRestore', { shape, required: ['from', 'into'] }, options)
    const { from, into, force, mode, buffer = DEFAULT_BUDGET, threads, parents, spool, keys, signal, warn } = options
    const budget = new Budget(buffer)
    const memory = budget.carve(FILL_BYTES, 'restoring the rest')
    const archive = await openArchive(from, { budget, threads, parents, spool, keys, signal, warn })
    try {
      const folder = await RestoreFolder.open(into, archive.manifest, {
        force,
        mode: mode === undefined ? mode : parseMode(mode),
        warn,
      })
      const restore = new LiveRestore(options, archive, folder, memory)
      await restore.#open()
      return restore
    } catch (error) {
      await archive.close()
      throw error
    }
  }

  /** Resolves when guests can connect. From then on the rest is copied. If it fails, nothing is left open. */
  async start(): Promise<void> {
    try {
      await this.#service!.start()
    } catch (error) {
      await this.#close()
      throw error
    }
    this.#running = this.#fill().then(this.#settle.resolve, this.#settle.reject)
  }

  get port(): number | undefined {
    return this.#service!.port
  }

  get status(): ServiceStatus {
    return this.#service!.status
  }

  /** Bytes that the images have, and bytes that they will have. */
  get progress(): { done: number; total: number } {
    const sum = (bytes: number[]) => bytes.reduce((one, other) => one + other, 0)
    const total = sum(this.#archive.manifest.drives.map(({ size }) => size))
    return this.#folder.isNamed
      ? { done: total, total }
      : { done: sum(this.#targets.map(({ overlay }) => overlay.held)), total }
  }

  /** The ranges that could not be restored, after `done` has rejected. */
  get missing(): readonly Missing[] {
    return this.#filler.missing
  }

  /** Answers the requests that have come, makes durable what was written, and closes everything. A restore that is not complete can be continued. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    try {
      await this.#running
      await this.#service!.stop()
      await this.#folder.leave()
    } finally {
      await this.#close()
    }
  }

  async #open(): Promise<void> {
    const { socket, socketAccess, listen, control, warn } = this.#options
    try {
      for (const drive of this.#archive.manifest.drives)
        this.#disks.set(typableName(drive.name), await this.#openDrive(drive))
    } catch (error) {
      for (const disk of this.#disks.values()) await disk.close()
      throw error
    }
    const failures = new DiskFailures(warn)
    const nbd = { onDiskError: failures.note.bind(failures) }
    this.#service = new Service({ drives: Object.fromEntries(this.#disks), socket, socketAccess, listen, control, nbd })
  }

  async #openDrive(drive: DriveInfo): Promise<Disk> {
    try {
      if (this.#folder.isNamed) return await this.#folder.openNamed(drive)
      const files = await this.#folder.openOverlay(drive)
      const index = this.#targets.length
      const wanted = (offset: number, length: number) => this.#filler.want(index, offset, length)
      const overlay = new OverlayDisk(new DemandedDrive(this.#archive.drive(drive.name), this.#demand, wanted), files)
      this.#targets.push({ name: drive.name, overlay, source: this.#archive.drive(drive.name) })
      return overlay
    } catch (error) {
      const failure = asVmapipeError(error)
      failure.where.drive ??= drive.name
      throw failure
    }
  }

  async #fill(): Promise<void> {
    if (!this.#folder.isNamed) {
      await this.#filler.run()
      if (!this.#targets.every(({ overlay }) => overlay.isComplete)) throw this.#whyNot()
      for (const { overlay } of this.#targets) await overlay.flush()
      await this.#folder.finish()
      for (const { overlay } of this.#targets) await overlay.detachMap()
    }
    await this.#demand.idle()
    await this.#archive.close()
  }

  #whyNot(): VmapipeError {
    const [first] = this.missing
    if (this.#stopping.signal.aborted || first === undefined) {
      return new VmapipeError(
        'ABORTED',
        'stopped before the images were complete; the same command continues the restore',
      )
    }
    const bytes = this.missing.reduce((sum, { length }) => sum + length, 0)
    const message = `the images are not complete: ${bytes} bytes cannot be restored, the first because ${first.error.message}`
    const { drive, offset } = first
    return new VmapipeError(first.error.code, message, { ...first.error.where, drive, offset, cause: first.error })
  }

  async #close(): Promise<void> {
    for (const disk of this.#disks.values()) await disk.close()
    await this.#archive.close()
  }
}
