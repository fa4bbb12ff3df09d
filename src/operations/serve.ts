/** A server that is the disk of running guests, with a control socket by which they are backed up. */

import { LONGEST_WAIT, SHORTEST_WAIT } from '../core/duration.ts'
import { VmapipeError } from '../core/errors.ts'
import { address, atLeastOne, callback, checkOptions, flag, type Shape, text } from '../core/options.ts'
import { parseBytes } from '../core/size.ts'
import { z } from '../core/stage.ts'
import type { ServiceStatus } from '../live/control/controlled-service.ts'
import { DiskFailures } from '../live/disk-failures.ts'
import { Service, type ServiceOptions } from '../live/service.ts'
import type { Disk } from '../storage/disk.ts'

/** The drives of a guest, and where it connects. */
export interface ServeOptions {
  /** SOURCE by name: a raw image or block device, `qcow2:PATH`, an NBD URI; or an open disk. The names are those of the NBD exports. */
  drives: Record<string, string | Disk>
  /** Path of a unix socket for guests, mode 0600 unless `socketAccess` says otherwise. This, `listen` or `inherited` must be given. */
  socket?: string
  /** Who may connect to `socket`: its permissions, 0600 by default, and the id of its group. */
  socketAccess?: { mode?: number; group?: number }
  /** Descriptors of sockets that listen already, as systemd passes them: for guests, and for control. */
  inherited?: { guests: readonly number[]; control: readonly number[] }
  /** TCP address for guests. Without encryption and without authentication. */
  listen?: { host: string; port: number }
  /** Path of the control socket (mode 0600), which speaks HTTP; without it nobody can back the guest up. */
  control?: string
  /**
   * Tracks durably what guests write, so that an incremental backup reads only that: in this folder, or with `true` in CONTROL.track
   * beside the control socket.
   */
  track?: string | true
  /** With `track`: nothing else ever writes to drives of which nothing could tell, such as block devices and those of NBD servers. */
  soleWriter?: boolean
  /** Bytes of old data that may wait in memory during a backup; 64 MiB unless given. */
  buffer?: number
  /** Milliseconds that a request of the guest waits for a backup at most; 10000 unless given. */
  maxStall?: number
  /** Milliseconds after which a backup is given up if nothing of it is taken; 600000 unless given. */
  maxHang?: number
  /** Bytes a second that a backup reads at most, or text such as `50MiB/s`; the guest is never limited. */
  bwlimit?: number | string
  /** Takes one line for the user: a request of a guest that failed, a server behind a drive that goes away or comes back. */
  warn?: (message: string) => void
}

const milliseconds = z.int().min(SHORTEST_WAIT).max(LONGEST_WAIT)

const shape = {
  drives: z.record(text, z.union([text, z.custom<Disk>((value) => typeof value === 'object' && value !== null)])),
  socket: text,
  socketAccess: z.strictObject({
    mode: z.int().min(0).max(0o777).optional(),
    group: z.int().min(0).optional(),
    owner: z.int().optional(),
  }),
  inherited: z.strictObject({ guests: z.array(z.int().min(0)), control: z.array(z.int().min(0)) }),
  listen: address,
  control: text,
  track: z.union([text, z.literal(true)]),
  soleWriter: flag,
  buffer: atLeastOne,
  maxStall: milliseconds,
  maxHang: milliseconds,
  bwlimit: z.union([atLeastOne, text]),
  warn: callback,
} satisfies Shape<ServeOptions>

/**
 * Resolves when guests can connect. Errors: USAGE, FAILED; nothing is left open then.
 *
 *     const server = await serve({ drives: { 'drive-scsi0': 'disk.raw' }, socket: '/run/vm1.nbd', control: '/run/vm1.ctl' })
 *     await backupGuest({ attach: '/run/vm1.ctl', to: 'vm1.vma.zst' })
 *     await server.stop()
 */
export async function serve(options: ServeOptions): Promise<DiskServer> {
  const server = new DiskServer(options)
  await server.start()
  return server
}

/** The disk server of a guest. See serve. */
export class DiskServer {
  readonly #service: Service
  readonly #failures: DiskFailures

  /** Opens nothing. Throws USAGE. */
  constructor(options: ServeOptions) {
    checkOptions('serve', { shape, required: ['drives'] }, options)
    const { drives, socket, listen, control, warn } = options
    const { socketAccess, inherited } = options
    if (socket === undefined && listen === undefined && !inherited?.guests.length) {
      throw new VmapipeError('USAGE', 'nothing says where guests connect', { hint: 'give socket, listen, or both' })
    }
    this.#failures = new DiskFailures(warn)
    const track = trackOf(options)
    const nbd = { onDiskError: this.#failures.note.bind(this.#failures) }
    this.#service = new Service({
      drives,
      socket,
      socketAccess,
      inherited,
      listen,
      control,
      track,
      defaults: defaultsOf(options),
      nbd,
      warn,
    })
  }

  /** Resolves when guests can connect. If it fails, nothing is left open. */
  start(): Promise<void> {
    return this.#service.start()
  }

  /** The TCP port, with `listen`. */
  get port(): number | undefined {
    return this.#service.port
  }

  /** The drives, the NBD server, the backup that runs and the last one: what GET /status of the control socket tells. */
  get status(): ServiceStatus {
    return this.#service.status
  }

  /** Resolves, with the reason, when it cannot go on: the server that a drive is on came back with something else. */
  get failed(): Promise<VmapipeError> {
    return this.#service.failed
  }

  /** Takes no more requests, answers those that were taken, makes everything durable, and closes. A backup that runs is given up. */
  async stop(): Promise<void> {
    try {
      await this.#service.stop()
    } finally {
      this.#failures.end()
    }
  }
}

function trackOf({ track, soleWriter, control }: ServeOptions): ServiceOptions['track'] {
  if (track === undefined) {
    if (soleWriter)
      throw new VmapipeError('USAGE', 'a sole writer matters only if changes are tracked', { hint: 'add track' })
    return undefined
  }
  if (track !== true) return { folder: track, soleWriter }
  if (control !== undefined) return { folder: `${control}.track`, soleWriter }
  throw new VmapipeError('USAGE', 'without a control socket nothing says where changes are tracked', {
    hint: 'name the folder, or the control socket',
  })
}

/** What a backup has unless it asks for something else. */
function defaultsOf({ buffer, maxStall, maxHang, bwlimit }: ServeOptions) {
  const rate = typeof bwlimit === 'string' ? parseBytes(bwlimit) : bwlimit
  if (typeof bwlimit === 'string' && !rate)
    throw new VmapipeError('USAGE', `serve: option bwlimit: expected a rate such as 50MiB/s, got ${bwlimit}`)
  return {
    ...(buffer !== undefined && { buffer }),
    ...(maxStall !== undefined && { maxStall }),
    ...(maxHang !== undefined && { maxHang }),
    ...(rate !== undefined && { bwlimit: rate }),
  }
}
