/** A backup of the guest of a stock QEMU, while it runs, by QMP. */

import { VmapipeError } from '../core/errors.ts'
import { parseBytes } from '../core/size.ts'
import { DEFAULT_MAX_STALL } from '../live/live-backup.ts'
import { chooseDrives, type DriveWish } from '../live/qemu/choose-drives.ts'
import { QemuConnection } from '../live/qemu/connection.ts'
import { detach } from '../live/qemu/detach.ts'
import { discover, type GuestDrive } from '../live/qemu/discovery.ts'
import { GuardedPush } from '../live/qemu/guarded-push.ts'
import { guestSwitch } from '../live/qemu/guest-switch.ts'
import { chooseMode, type Mode } from '../live/qemu/mode.ts'
import { PlainPush } from '../live/qemu/plain-push.ts'
import { PushBackup, type PushBackupStatus } from '../live/qemu/push-backup.ts'
import { makePushServer, type PushServer } from '../live/qemu/push-server.ts'
import { copyTimeout, pushLimit } from '../live/qemu/versions.ts'
import { QmpClient } from '../protocol/qmp/client.ts'
import { Census } from '../stages/census.ts'
import { clusterSource } from '../stages/cluster-source.ts'
import { bindStage } from '../stages/registry.ts'
import { writeInterceptor } from '../stages/write-interceptor.ts'
import { type BackupOptions, compressorFor } from './backup.ts'
import { type JobResult, limit, runJob } from './job.ts'

export interface QemuBackupOptions extends Omit<BackupOptions, 'drives'> {
  /** Path of a QMP socket of the guest's QEMU. */
  qmp: string
  /** Which drives, and under which names; all that are worth it unless given. */
  drives?: readonly DriveWish[]
  /** Guarded push unless something stands against it, or plain push. */
  mode?: Mode
  /** Milliseconds that a write of the guest waits for the archive at most. */
  maxStall?: number
  /** Folder for the two sockets between QEMU and us; the system's for temporary files unless given. */
  socketDir?: string
  /** Is told how the guest is doing, about every second. */
  onGuest?: (status: PushBackupStatus) => void
}

export interface QemuBackupResult extends JobResult {
  /** How the guest did. */
  guest: PushBackupStatus
}

const LOOK_MS = 1000

/** Resolves when the archive is complete and durable. Errors: USAGE, FAILED, ABORTED. The guest goes on in every case. */
export async function qemuBackup(options: QemuBackupOptions): Promise<QemuBackupResult> {
  const { qmp: path, signal, socketDir } = options
  const qmp = await QmpClient.connect(path, { signal })
  try {
    const left = await detach(qmp)
    if (left.length > 0) options.warn?.(`a backup that was killed had left ${left.join(', ')} in QEMU: removed`)
    const inventory = await discover(qmp)
    const drives = chooseDrives(inventory, options.drives)
    for (const { name, reason } of options.drives ? [] : inventory.leftOut)
      options.warn?.(`${name} ${reason}: left out`)
    const server = await makePushServer(socketDir)
    try {
      return await withServer(new QemuConnection(qmp, path), drives, server, options)
    } finally {
      await server.close()
    }
  } finally {
    qmp.close()
  }
}

async function withServer(
  connection: QemuConnection,
  guestDrives: readonly GuestDrive[],
  server: PushServer,
  options: QemuBackupOptions,
): Promise<QemuBackupResult> {
  const { qmp } = connection
  const { maxStall = DEFAULT_MAX_STALL, onGuest, signal } = options
  const drives = guestDrives.map(({ name, node, size, qomPath }) => ({ name, node, size, device: qomPath }))
  const timeout = copyTimeout(qmp.version, maxStall)
  const { mode: wanted = 'auto', bwlimit } = options
  const { mode, reason } = await chooseMode(qmp, guestDrives, wanted)
  if (reason !== null) options.warn?.(`plain push, which has no guard against this program being killed: ${reason}`)
  const guest = await guestSwitch(qmp)
  const attachment =
    mode === 'guarded'
      ? new GuardedPush({ drives, guest, ...server, timeout })
      : new PlainPush({ drives, ...server, speed: share(bwlimit, drives.length) })
  const stall = mode === 'guarded' ? pushLimit(timeout, maxStall) : maxStall
  const backup = new PushBackup({ drives, connection, attachment, maxStall: stall })
  await server.offer(backup.targets)
  const watch = onGuest === undefined ? null : setInterval(() => onGuest(backup.status), LOOK_MS)
  try {
    const signals = [backup.signal, ...(signal === undefined ? [] : [signal])]
    const result = await archive(backup, { ...options, signal: AbortSignal.any(signals) })
    return { ...result, guest: backup.status }
  } finally {
    if (watch !== null) clearInterval(watch)
  }
}

/** Each drive's, where together they are not to be faster than `bwlimit`. */
function share(bwlimit: number | string | undefined, drives: number): number | undefined {
  const bytes = typeof bwlimit === 'string' ? parseBytes(bwlimit) : bwlimit
  return bytes === undefined ? undefined : Math.max(1, Math.floor(bytes / drives))
}

function archive(backup: PushBackup, options: QemuBackupOptions): Promise<JobResult> {
  const { configs = {}, to, force, bwlimit, compress, uuid, ctime } = options
  if (Object.keys(backup.readers).length === 0) throw new VmapipeError('USAGE', 'nothing to back up')
  const identity = { ...(uuid !== undefined && { uuid }), ...(ctime !== undefined && { ctime }) }
  const census = new Census()
  const stages = [
    clusterSource({ drives: backup.readers, configs, ...identity }),
    ...limit(bwlimit),
    writeInterceptor({ guest: backup.guest }),
    bindStage('zero-elider', {}),
    census.stage,
    bindStage('vma-framer', {}),
    ...compressorFor(compress, to),
    bindStage('sink', { to, ...(force && { force }) }),
  ]
  return runJob(stages, census, options)
}
