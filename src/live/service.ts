/**
 * `vmapipe serve`: guests' drives behind an NBD server, at most one backup of them at a time, and the control socket. It does
 * nothing but I/O. Compression, and sinks that may hang, are in another process.
 */

import type { Writable } from 'node:stream'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { Manifest } from '../core/items.ts'
import { DEFAULT_BUDGET } from '../core/run-options.ts'
import type { BoundStage } from '../core/stage.ts'
import { encodeHeader } from '../formats/vma/header.ts'
import { refuseNames } from '../formats/vma/names.ts'
import type { UpstreamEvent } from '../protocol/nbd/lasting-connection.ts'
import { NbdServer, type NbdServerOptions } from '../protocol/nbd/server/server.ts'
import type { SocketFileOptions } from '../protocol/socket-file.ts'
import type { Disk } from '../storage/disk.ts'
import { refuseOneDiskTwice } from '../storage/guard/same-disk.ts'
import { openDisk } from '../storage/open-disk.ts'
import { parseDriveSpec } from '../storage/spec.ts'
import { BackupMemory } from './backup-memory.ts'
import type { BackupOutcome, BackupRequest, ControlledService, ServiceStatus } from './control/controlled-service.ts'
import { ControlServer } from './control/server.ts'
import { GuestDrive } from './guest-drive.ts'
import { LiveBackup, type LiveBackupOptions } from './live-backup.ts'
import { rehearse } from './rehearsal.ts'
import { openTracker, openTrackingFolder, type TrackingOptions } from './tracking/tracking.ts'

export interface ServiceOptions {
  /** A SOURCE or an open disk, by name. The names are those of the NBD exports and of the drives in archives. */
  drives: Record<string, string | Disk>
  /** Unix socket of the NBD server. */
  socket?: string
  /** Who may connect to it besides its owner; nobody unless given. */
  socketAccess?: SocketFileOptions
  /** TCP address of the NBD server. Without encryption or authentication. */
  listen?: { host: string; port: number }
  /** Unix socket of the control server. */
  control?: string
  /** Descriptors of sockets that listen already. */
  inherited?: { guests: readonly number[]; control: readonly number[] }
  /** What a backup takes unless its request says otherwise. */
  defaults?: Pick<LiveBackupOptions, 'buffer' | 'maxStall' | 'maxHang' | 'bwlimit'>
  nbd?: NbdServerOptions
  /** Is called when the server of a drive goes away, and when it is back. */
  warn?: (message: string) => void
  /** Memory of backups, if the caller owns it. */
  memory?: BackupMemory
  /** Where and how it tracks what guests write, so that the next backup reads only that; not unless given. */
  track?: Pick<TrackingOptions, 'folder' | 'soleWriter'>
  /** Whether to rehearse backups (rehearsal.ts), so that the first writes during the first backup are fast; true unless given. */
  rehearsed?: boolean
}

/**
 * The most bytes of payload in memory, of one client and of all, for changes and for reads each. While a backup holds changes, more
 * of them are taken in (protocol/nbd/server/window.ts).
 */
const PAYLOAD = { maxBytes: 8 << 20, maxTotalBytes: 8 << 20 }

export class Service implements ControlledService {
  readonly #options: ServiceOptions
  readonly #drives = new Map<string, GuestDrive>()
  readonly #started = Date.now() / 1000
  #memory: BackupMemory
  #nbd: NbdServer | null = null
  #control: ControlServer | null = null
  #backup: { backup: LiveBackup; done: Promise<void> } | null = null
  #last: BackupOutcome | null = null
  #port: number | undefined
  #stopping = false
  readonly #failed = Promise.withResolvers<VmapipeError>()

  constructor(options: ServiceOptions) {
    this.#options = options
    this.#memory = options.memory ?? new BackupMemory(options.defaults?.buffer ?? DEFAULT_BUDGET)
  }

  /** Resolves when guests can connect. If it fails, nothing is left open. */
  async start(): Promise<void> {
    const { drives, socket, listen, control, nbd, rehearsed = true } = this.#options
    try {
      const specs = Object.entries(drives).filter((entry): entry is [string, string] => typeof entry[1] === 'string')
      await refuseOneDiskTwice(specs)
      const track = this.#options.track && { ...this.#options.track, warn: this.#options.warn }
      if (track !== undefined) await openTrackingFolder(track)
      for (const [name, spec] of Object.entries(drives)) {
        const disk = await openNamed(name, spec)
        const isShared = typeof spec === 'string' && parseDriveSpec(spec).kind === 'nbd'
        const drive = new GuestDrive(disk, track && (await openTracker({ name, disk, isShared }, track)))
        this.#drives.set(name, drive)
        if (drive.upstream) drive.upstream.onEvent = (event) => this.#tell(name, event)
      }
      const exports = [...this.#drives].map(([name, disk]) => ({ name, disk }))
      this.#nbd = new NbdServer(exports, { ...PAYLOAD, ...nbd })
      const { guests, control: controls } = this.#options.inherited ?? { guests: [], control: [] }
      const hasControl = control !== undefined || controls.length > 0
      if (hasControl && rehearsed) {
        await rehearse((options) => new Service({ ...options, rehearsed: false, memory: this.#memory }))
        this.#memory = this.#memory.renewed()
      }
      // The control socket first: a guest that can connect can be backed up.
      if (hasControl) {
        this.#control = new ControlServer(this)
        if (control !== undefined) await this.#control.listen(control)
        for (const fd of controls) await this.#control.listenOnFd(fd)
      }
      if (socket !== undefined) await this.#nbd.listenOnPath(socket, this.#options.socketAccess)
      for (const fd of guests) await this.#nbd.listenOnFd(fd)
      if (listen !== undefined) this.#port = await this.#nbd.listenOnPort(listen.host, listen.port)
    } catch (error) {
      await this.stop().catch(() => {})
      throw error
    }
  }

  /** The memory of its backups. */
  get memory(): BackupMemory {
    return this.#memory
  }

  /** The TCP port, if it listens on one. */
  get port(): number | undefined {
    return this.#port
  }

  get status(): ServiceStatus {
    return {
      pid: process.pid,
      started: this.#started,
      drives: [...this.#drives].map(([name, { size, readOnly, upstream, tracked }]) => ({
        ...{ name, size, readOnly, tracked },
        ...(upstream && { upstream: upstream.status }),
      })),
      nbd: this.#nbd!.stats,
      memory: this.#memory.place,
      backup: this.#backup?.backup.status ?? null,
      last: this.#last,
    }
  }

  /** Resolves when the service cannot go on: a drive's server came back with something else. */
  get failed(): Promise<VmapipeError> {
    return this.#failed.promise
  }

  #tell(name: string, event: UpstreamEvent): void {
    const { warn = () => {} } = this.#options
    if (event.kind === 'back') warn(`drive ${name}: its server is back after ${event.seconds.toFixed(1)} s`)
    else if (event.kind === 'lost')
      warn(`drive ${name}: its server is away, requests wait for it: ${event.error.message}`)
    else {
      event.error.where.drive ??= name
      this.#failed.resolve(event.error)
    }
  }

  /** Gives up on servers that are away. Clients get no answer, so that they make their requests again when the disk is served again. */
  #giveUpAway(): void {
    const away = [...this.#drives.values()].flatMap(({ upstream }) =>
      upstream?.status.connected === false ? upstream : [],
    )
    if (away.length > 0) this.#nbd?.hangUp()
    for (const upstream of away) upstream.giveUp()
  }

  /** Throws USAGE for what cannot be archived, FAILED while another backup runs; nothing has been written to `to` then. */
  checkBackup({ drives = [...this.#drives.keys()], configs = {} }: BackupRequest): void {
    if (this.#stopping) throw new VmapipeError('FAILED', 'the server stops')
    if (this.#backup !== null) {
      throw new VmapipeError('FAILED', 'a backup is running already, and there is one at a time', {
        hint: 'wait for it, or end it with `vmapipe abort --attach`',
      })
    }
    for (const name of drives) {
      if (this.#drives.has(name)) continue
      throw new VmapipeError('USAGE', `there is no drive '${name}'`, {
        hint: `there are ${[...this.#drives.keys()].join(', ')}`,
      })
    }
    const sizes = drives.map((name) => [name, this.#drives.get(name)!.size] as const)
    checkManifest(sizes, Object.entries(configs))
  }

  /** Backs up into `to`. Resolves when the archive is whole and `to` has ended; otherwise rejects. */
  async backUp(request: BackupRequest, to: Writable | BoundStage): Promise<void> {
    this.checkBackup(request)
    const { drives: names = [...this.#drives.keys()], ...options } = request
    const drives = Object.fromEntries(names.map((name) => [name, this.#drives.get(name)!]))
    const backup = new LiveBackup({ ...this.#options.defaults, ...options, drives, to, arena: this.#memory.arena })
    const done = backup.run()
    this.#backup = { backup, done }
    let error: string | null = null
    try {
      await done
    } catch (failure) {
      error = lineOf(failure)
      throw failure
    } finally {
      this.#last = { ended: Date.now() / 1000, complete: error === null, error, status: backup.status }
      this.#backup = null
      // Memory of the caller is the caller's to renew.
      if (this.#options.memory === undefined) this.#memory = this.#memory.renewed()
      void this.#memory.forget()
    }
  }

  /** Changes the bytes a second that the backup that runs scans; Infinity for no limit. False if none runs. */
  limitBackup(rate: number): boolean {
    if (this.#backup === null) return false
    this.#backup.backup.rate.bytes = rate
    return true
  }

  /** Gives up the backup that runs, and waits until it has ended. False if none runs. */
  async abortBackup(reason: string): Promise<boolean> {
    if (this.#backup === null) return false
    const { backup, done } = this.#backup
    backup.abort(new VmapipeError('ABORTED', reason))
    await done.catch(() => {})
    return true
  }

  /** Takes no more requests, answers those that it has taken, makes everything durable, and closes all. */
  async stop(): Promise<void> {
    this.#stopping = true
    await this.abortBackup('the server stops')
    await this.#control?.close()
    const away = setInterval(() => this.#giveUpAway(), AWAY_MS)
    try {
      await this.#nbd?.close()
    } finally {
      clearInterval(away)
      for (const drive of this.#drives.values()) await drive.close()
      if (this.#options.memory === undefined) this.#memory.close()
    }
  }
}

/** How long a service that ends waits for servers that are away, in milliseconds. */
const AWAY_MS = 600

function lineOf(failure: unknown): string {
  const error = asVmapipeError(failure)
  // An error that ended the pipeline from outside names no stage.
  if (error.stage === 'pipeline') error.stage = undefined
  return error.line
}

/** Refuses, before the point in time, what no archive can hold or no restore can make files of. */
function checkManifest(
  drives: readonly (readonly [string, number])[],
  configs: readonly (readonly [string, Uint8Array])[],
): void {
  refuseNames({ drives: drives.map(([name]) => name), configs: configs.map(([name]) => name) })
  const manifest = new Manifest({
    uuid: new Uint8Array(16),
    ctime: 0,
    configs: configs.map(([name, data]) => ({ name, data })),
    drives: drives.map(([name, size], index) => ({ id: index + 1, name, size })),
  })
  encodeHeader(manifest)
}

async function openNamed(name: string, spec: string | Disk) {
  try {
    return typeof spec === 'string' ? await openDisk(spec) : spec
  } catch (error) {
    if (error instanceof VmapipeError) error.where.drive ??= name
    throw error
  }
}
