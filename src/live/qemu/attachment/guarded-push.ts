/**
 * Guarded push: each device of the guest gets a copy-before-write filter above its node. The filter pushes old data to us before it
 * is overwritten, and gives the point in time up rather than the guest's write. The rest of the point in time is read from QEMU's
 * own NBD server.
 *
 *     device -> vmapipe-cbwN -> the drive's node
 *                    |-> vmapipe-tgtN  NBD, to us: the push
 *     vmapipe-snapN on vmapipe-cbwN, exported: the pull
 */

import type { ClusterSet } from '../../../core/cluster-set.ts'
import { asVmapipeError, VmapipeError } from '../../../core/errors.ts'
import { NbdClient } from '../../../protocol/nbd/client.ts'
import { type QmpClient, qmpErrorClass } from '../../../protocol/qmp/client.ts'
import { readBitmap } from '../bitmaps/read-bitmap.ts'
import type { BitmapTracking } from '../bitmaps/tracking.ts'
import type { RamSnapshot } from '../ram/ram-snapshot.ts'
import type { Attachment, PushDrive } from './attachment.ts'
import { type Command, wasRefused } from './commands.ts'
import { type GuestSwitch, type Hold, letGoOn } from './guest-switch.ts'
import { namesOf } from './names.ts'
import { addTargets } from './push-nodes.ts'
import { remove } from './removal.ts'

interface GuardedPushOptions {
  drives: readonly PushDrive[]
  guest: GuestSwitch
  /** Our socket, whose server has an export for every drive; and the socket that QEMU makes. */
  pushSocket: string
  pullSocket: string
  /** Seconds after which QEMU gives the point in time up rather than let a write wait. */
  timeout: number
  /** The guest's memory is part of the point in time. */
  ram?: RamSnapshot | null
  /** Bitmaps, for what is read and guarded and for the next backup. */
  tracking?: BitmapTracking | null
  /** Runs the switch of the devices, with what has to be done before and after it. */
  around?: (insert: () => Promise<void>) => Promise<void>
}

/**
 * Bytes of one READ. A guest's write to what is being read waits for the read, so no more than speed needs: with 64 KiB the scan is
 * half as fast, with 1 MiB it is no faster. Before QEMU 8.0 a READ of several clusters may return newer data in place of the old for
 * those that were pushed before. These are never taken from a READ.
 */
const REQUEST_BYTES = 262144
/** Requests in flight: QEMU's server does no more at once for one client. */
const DEPTH = 16

export class GuardedPush implements Attachment {
  readonly #options: GuardedPushOptions
  /** Whether we may have started QEMU's NBD server. */
  #server = false

  constructor(options: GuardedPushOptions) {
    this.#options = options
  }

  async insert(qmp: QmpClient): Promise<void> {
    const { drives, pushSocket, ram, tracking, around = (insert) => insert() } = this.#options
    await addTargets(qmp, drives.length, pushSocket)
    await tracking?.add(qmp)
    await ram?.arm(qmp)
    await around(() => this.#switch(qmp))
    await tracking?.settled(qmp)
  }

  changed(qmp: QmpClient): Promise<(ClusterSet | null)[]> {
    const { drives, pullSocket: socketPath, tracking } = this.#options
    return Promise.all(
      drives.map(async ({ node, size }, index) => {
        const bitmap = tracking?.frozen(index)
        if (!bitmap) return null
        // Not before the filter: it could not copy a bitmap that is exported.
        const name = namesOf(index).bits
        await qmp.execute('block-export-add', { type: 'nbd', id: name, name, 'node-name': node, bitmaps: [bitmap] })
        return readBitmap({ socketPath, exportName: name }, bitmap, size)
      }),
    )
  }

  pull(): Promise<NbdClient[]> {
    return connectAll(this.#options.drives, this.#options.pullSocket)
  }

  async remove(qmp: QmpClient): Promise<void> {
    try {
      // The connection may have been lost just while the guest stood still.
      await letGoOn(qmp)
      await this.#options.ram?.remove(qmp)
    } finally {
      await remove(qmp, { server: this.#server })
    }
  }

  /**
   * Sends all commands at once, so that the pause is as short as possible. Filter, switch, snapshot and export have to be in one
   * pause: to insert them while an iothread works on the node aborts QEMU 7.2.
   */
  async #switch(qmp: QmpClient): Promise<void> {
    const { drives, guest, ram } = this.#options
    const commands = [...this.#insertion(), ...(ram ? [ram.start] : [])]
    const hold: Hold | undefined = ram ? (results) => ifAll(results, () => ram.saved(qmp)) : undefined
    this.#server = true
    const results = await guest.whileStill(qmp, commands, hold)
    this.#server = !wasRefused(results[commands.findIndex(([name]) => name === 'nbd-server-start')])
    const failed = results.findIndex((result) => result.status === 'rejected')
    if (failed !== -1) throw explained(commands[failed], (results[failed] as PromiseRejectedResult).reason, drives)
  }

  #insertion(): Command[] {
    const { drives, guest, pullSocket, tracking } = this.#options
    const actions = tracking?.actions ?? []
    const named = drives.map((drive, index) => ({ ...drive, ...namesOf(index) }))
    return [
      ['nbd-server-start', { addr: { type: 'unix', data: { path: pullSocket } } }],
      ...(actions.length > 0 ? [['transaction', { actions }] as const] : []),
      ...named.map(({ hold, node }) => sizeHold(hold, node)),
      ...named.map((_, index) => this.#filter(index)),
      ...named.map(({ device, filter }) => guest.attach(device, filter)),
      ...named.map(({ snapshot, filter }) => snapshotNode(snapshot, filter)),
      ...named.map(({ snapshot }) => snapshotExport(snapshot)),
    ]
  }

  #filter(index: number): Command {
    const { filter, target } = namesOf(index)
    const { drives, timeout, tracking } = this.#options
    const { node } = drives[index]
    const name = tracking?.frozen(index)
    // A guest's write to any other cluster is not copied, and costs nothing.
    const only = name ? { bitmap: { node, name } } : {}
    const guard = { 'on-cbw-error': 'break-snapshot', 'cbw-timeout': timeout }
    return ['blockdev-add', { driver: 'copy-before-write', 'node-name': filter, file: node, target, ...only, ...guard }]
  }
}

async function ifAll(results: readonly PromiseSettledResult<unknown>[], action: () => Promise<void>): Promise<void> {
  if (results.every(({ status }) => status === 'fulfilled')) await action()
}

/** `discard`: without it a TRIM of clusters that were read does nothing. */
function snapshotNode(snapshot: string, filter: string): Command {
  return ['blockdev-add', { driver: 'snapshot-access', 'node-name': snapshot, file: filter, discard: 'unmap' }]
}

function snapshotExport(snapshot: string): Command {
  return ['block-export-add', { type: 'nbd', id: snapshot, 'node-name': snapshot, writable: true }]
}

/**
 * An export without clients, which keeps the drive's size: QEMU refuses to resize a node while it is exported, and what is above
 * it. A filter alone has no such lock, and QEMU aborts if the drive below it becomes smaller. So this export is added before the
 * filter and removed after it.
 */
function sizeHold(hold: string, node: string): Command {
  return ['block-export-add', { type: 'nbd', id: hold, name: hold, 'node-name': node, writable: false }]
}

async function connectAll(drives: readonly PushDrive[], socketPath: string): Promise<NbdClient[]> {
  const clients: NbdClient[] = []
  try {
    for (const [index, { name, size }] of drives.entries()) {
      const exportName = namesOf(index).snapshot
      const client = await NbdClient.connect({ socketPath, exportName }, { requestSize: REQUEST_BYTES, depth: DEPTH })
      clients.push(client)
      if (client.size !== size) {
        const message = `the drive has ${client.size} bytes now, it had ${size} a moment ago`
        throw new VmapipeError('FAILED', message, { drive: name })
      }
    }
    return clients
  } catch (error) {
    await Promise.all(clients.map((client) => client.close()))
    throw error
  }
}

function explained([command, args]: Command, error: unknown, drives: readonly PushDrive[]): VmapipeError {
  const { message, code } = asVmapipeError(error)
  if (qmpErrorClass(error) === undefined) return asVmapipeError(error)
  if (command === 'migrate')
    return new VmapipeError(code, `the guest's memory cannot be had: ${message}`, { cause: error })
  if (command === 'nbd-server-start') {
    const hint =
      'QEMU has one NBD server, and it runs already: end it with nbd-server-stop if nobody needs it, or use --mode push'
    return new VmapipeError(code, message, { cause: error, hint })
  }
  const about = args as { path?: string; file?: string } | undefined
  const drive = drives.find(({ device, node }) => device === about?.path || node === about?.file)?.name
  const hint = 'the filter that guards the guest cannot be put in; --mode push does without it'
  return new VmapipeError(code, message, { cause: error, drive, hint })
}
