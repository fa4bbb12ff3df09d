/** A backup of the guest of a stock QEMU, while it runs, by QMP. */

import { bindStage } from '../config/registry.ts'
import { Census } from '../core/census.ts'
import { asVmapipeError, VmapipeError } from '../core/errors.ts'
import { parseBytes } from '../core/size.ts'
import { refuseNames } from '../formats/vma/names.ts'
import type { GuestStatus } from '../live/guest-figures.ts'
import { DEFAULT_MAX_STALL } from '../live/live-backup.ts'
import type { Attachment } from '../live/qemu/attachment/attachment.ts'
import { Claim } from '../live/qemu/attachment/claim.ts'
import { detach } from '../live/qemu/attachment/detach.ts'
import { GuardedPush } from '../live/qemu/attachment/guarded-push.ts'
import { realGuest } from '../live/qemu/attachment/guest-switch.ts'
import { assertNotMigrating, watchForMigration } from '../live/qemu/attachment/migration.ts'
import { watchForOverlays, withOverlay } from '../live/qemu/attachment/overlays.ts'
import { PlainPush } from '../live/qemu/attachment/plain-push.ts'
import { QemuConnection } from '../live/qemu/connection.ts'
import { type FsfreezeMode, fsfreeze } from '../live/qemu/freeze/fsfreeze.ts'
import { chooseDrives, type DriveWish } from '../live/qemu/inventory/choose-drives.ts'
import { discover, type GuestDrive } from '../live/qemu/inventory/discovery.ts'
import { describeMachine, type MachineDescription, machineConfig } from '../live/qemu/inventory/machine.ts'
import { chooseMode, type Mode } from '../live/qemu/inventory/mode.ts'
import { copyTimeout, pushLimit, stallIsCut } from '../live/qemu/inventory/versions.ts'
import type { MonitorPlace } from '../live/qemu/monitor.ts'
import { PushBackup } from '../live/qemu/push-backup.ts'
import { PushServer } from '../live/qemu/push-server.ts'
import { RAM_NAME, RamSnapshot } from '../live/qemu/ram/ram-snapshot.ts'
import { socketOwner } from '../live/qemu/socket-owner.ts'
import type { QmpClient } from '../protocol/qmp/client.ts'
import { clusterSource } from '../stages/cluster-source.ts'
import { writeInterceptor } from '../stages/write-interceptor.ts'
import { announce, tellPointInTime } from './announce.ts'
import type { BackupOptions } from './backup.ts'
import { type JobResult, limit, runJob } from './job.ts'
import { compressorFor, framerFor } from './write-archive.ts'

export interface QemuBackupOptions extends Omit<BackupOptions, 'drives' | 'forceShare'>, MonitorPlace {
  /** Which drives, and under which names; all that are worth it unless given. */
  drives?: readonly DriveWish[]
  /** Guarded push unless something stands against it, or plain push. */
  mode?: Mode
  /** Milliseconds that a write of the guest waits for the archive at most. */
  maxStall?: number
  /** Socket of the guest agent, and whether it is asked to freeze the guest's filesystems for the point in time. */
  agent?: string
  fsfreeze?: FsfreezeMode
  /** The guest's memory at the point in time goes in too, as the drive `vmstate`. */
  withRam?: boolean
  /** Folder for the two sockets between QEMU and us; the system's for temporary files unless given. */
  socketDir?: string
  /** Is told how the guest is doing, about every second. */
  onGuest?: (status: GuestStatus) => void
}

export interface QemuBackupResult extends JobResult {
  /** How the guest did. */
  guest: GuestStatus
}

const LOOK_MS = 1000

/** Resolves when the archive is complete and durable. Errors: USAGE, FAILED, ABORTED. The guest goes on in every case. */
export async function qemuBackup(options: QemuBackupOptions): Promise<QemuBackupResult> {
  const { signal, warn, socketDir } = options
  if (options.withRam) refuseWithRam(options)
  const connection = await QemuConnection.open(options, { signal, warn })
  try {
    const server = await PushServer.create({ parent: socketDir, owner: await socketOwner(options) })
    try {
      return await claimed(connection, server, options)
    } finally {
      await server.close()
    }
  } finally {
    connection.qmp.close()
  }
}

/** As long as anything of ours may be in QEMU nobody else's turn begins. */
async function claimed(
  connection: QemuConnection,
  server: PushServer,
  options: QemuBackupOptions,
): Promise<QemuBackupResult> {
  const { qmp } = connection
  const { warn } = options
  const claim = await Claim.take(qmp, server.lifeSocket)
  try {
    const { removed, continued } = await detach(qmp, claim)
    if (removed.length > 0) warn?.(`a backup that was killed had left ${removed.join(', ')} in QEMU: removed`)
    if (continued) warn?.('the guest stood still because of the backup that was killed: it goes on')
    const inventory = await discover(qmp)
    const drives = chooseDrives(inventory, options.drives)
    if (options.withRam && drives.some(({ name }) => name === RAM_NAME))
      throw new VmapipeError('USAGE', `a drive is called ${RAM_NAME}, as the memory of the guest is to be`)
    for (const { name, reason } of options.drives ? [] : inventory.leftOut) warn?.(`${name} ${reason}: left out`)
    const machine = await describeMachine(qmp, inventory.drives)
    const configs = withMachine(machine, options.configs)
    const names = [...drives.map(({ name }) => name), ...(options.withRam ? [RAM_NAME] : [])]
    refuseNames({ drives: names, configs: Object.keys(configs) })
    return await pushed(connection, drives, server, claim, { ...options, configs, guest: guestName(machine, options) })
  } finally {
    // Where QEMU cannot be reached any more it has been said what is left there.
    if (!claim.isReleased) await connection.lastly((qmp) => claim.release(qmp)).catch(() => {})
  }
}

/** A guest that is run back from its memory has whatever is frozen there. */
function refuseWithRam({ mode, fsfreeze }: QemuBackupOptions): void {
  if (mode === 'push') throw new VmapipeError('USAGE', 'the memory of the guest can be had with guarded push only')
  if (fsfreeze !== 'on') return
  throw new VmapipeError('USAGE', 'with its memory the guest would come back with its filesystems frozen', {
    hint: 'leave --fsfreeze on away: what is not on the drives yet is in the memory',
  })
}

/** In the words of the log: "guest web01 (QEMU at /run/vm1.qmp)". */
function guestName({ name }: MachineDescription, { qmp, libvirt }: MonitorPlace): string {
  const place = qmp === undefined ? `libvirt domain ${libvirt}` : `QEMU at ${qmp}`
  return name === undefined || name === libvirt ? `guest of ${place}` : `guest ${name} (${place})`
}

type Configs = Record<string, string | Uint8Array<ArrayBuffer>>
type WithConfigs = Omit<QemuBackupOptions, 'configs'> & { configs: Configs; guest: string }

/** What QMP tells of the machine goes in too, unless the user has a file of that name. */
function withMachine(machine: MachineDescription, configs: Configs = {}): Configs {
  const { name, data } = machineConfig(machine)
  return { [name]: new Uint8Array(data), ...configs }
}

async function pushed(
  connection: QemuConnection,
  guestDrives: readonly GuestDrive[],
  server: PushServer,
  claim: Claim,
  options: WithConfigs,
): Promise<QemuBackupResult> {
  const { onGuest, signal } = options
  const drives = guestDrives.map(({ name, node, size, qomPath }) => ({ name, node, size, device: qomPath }))
  const { attachment, ...way } = await attachmentFor(connection.qmp, guestDrives, drives, server, options)
  const onPointInTime = (since: number) => tellPointInTime(options.inform, since)
  const backup = new PushBackup({
    drives,
    connection,
    attachment: underClaim(attachment, claim),
    onPointInTime,
    ...way,
  })
  await server.offer(backup.targets)
  const { ram } = backup
  if (ram !== null) await server.takeRam((connection) => ram.accept(connection))
  const watch = onGuest === undefined ? null : setInterval(() => onGuest(backup.status), LOOK_MS)
  // The memory is had by a migration of ours, and there is never more than one.
  const endWatch = ram === null ? watchForMigration(connection.qmp, (error) => backup.fail(error)) : null
  const endOverlays = watchForOverlays(connection.qmp, () => void backup.lookForOverlays().catch(() => {}))
  let done: QemuBackupResult | null = null
  let failure: VmapipeError | null = null
  try {
    const signals = [backup.signal, ...(signal === undefined ? [] : [signal])]
    const result = await archive(backup, { ...options, signal: AbortSignal.any(signals) })
    done = { ...result, guest: backup.status }
  } catch (error) {
    failure = asVmapipeError(error)
  } finally {
    if (watch !== null) clearInterval(watch)
    endWatch?.()
    endOverlays()
  }
  // Whatever became of the backup: otherwise the guest does not start again, and nobody knows why.
  if (backup.overlay !== null) throw withOverlay(failure, backup.overlay)
  if (done === null) throw failure
  return done
}

/** With the last of ours the claim goes, though the archive may still be written. */
function underClaim(attachment: Attachment, claim: Claim): Attachment {
  return {
    insert: (qmp, events) => attachment.insert(qmp, events),
    pull: () => attachment.pull(),
    async remove(qmp) {
      await attachment.remove(qmp)
      await claim.release(qmp)
    },
  }
}

/** How QEMU will push to us, and how long a push may wait for us, in milliseconds. */
async function attachmentFor(
  qmp: QmpClient,
  guestDrives: readonly GuestDrive[],
  drives: ConstructorParameters<typeof PlainPush>[0]['drives'],
  { pushSocket, pullSocket, ramSocket }: PushServer,
  options: WithConfigs,
): Promise<{ attachment: Attachment; maxStall: number; cut?: string | null; ram?: RamSnapshot | null }> {
  const { mode: wanted = 'auto', maxStall = DEFAULT_MAX_STALL, withRam = false, bwlimit, agent } = options
  const { warn, inform, signal } = options
  const mode = withRam ? 'off' : options.fsfreeze
  const around = (insert: () => Promise<void>) =>
    fsfreeze({ mode, agent, warn, inform, signal }, () => assertNotMigrating(qmp).then(insert))
  const choice = await chooseMode(qmp, guestDrives, withRam ? 'guarded' : wanted)
  await assertNotMigrating(qmp)
  if (choice.mode === 'guarded') {
    const timeout = copyTimeout(qmp.version, maxStall)
    const ram = withRam ? await RamSnapshot.prepare(qmp, ramSocket, maxStall) : null
    const attachment = new GuardedPush({ drives, guest: realGuest, pushSocket, pullSocket, timeout, ram, around })
    const limit = pushLimit(timeout, maxStall)
    const cut = limit < maxStall ? stallIsCut(qmp.version, limit) : null
    // Nobody has asked for the time that is the usual one.
    if (cut !== null)
      (options.maxStall === undefined ? inform : warn)?.(`${cut}: --max-stall ${maxStall / 1000}s is more`)
    return { attachment, ram, maxStall: limit, cut }
  }
  if (choice.reason !== null)
    warn?.(`plain push, which does not guard the guest against a kill of this program: ${choice.reason}`)
  return { attachment: new PlainPush({ drives, pushSocket, speed: share(bwlimit, drives.length), around }), maxStall }
}

/** Each drive's, where together they are not to be faster than `bwlimit`. */
function share(bwlimit: number | string | undefined, drives: number): number | undefined {
  const bytes = typeof bwlimit === 'string' ? parseBytes(bwlimit) : bwlimit
  return bytes === undefined ? undefined : Math.max(1, Math.floor(bytes / drives))
}

function archive(backup: PushBackup, options: WithConfigs): Promise<JobResult> {
  const { configs, to, force, bwlimit, uuid, ctime } = options
  const identity = { ...(uuid !== undefined && { uuid }), ...(ctime !== undefined && { ctime }) }
  const census = new Census(announce(options))
  const stages = [
    clusterSource({ drives: backup.readers, configs, ...identity }),
    ...limit(bwlimit),
    writeInterceptor({ guest: backup.guest }),
    bindStage('zero-elider', {}),
    census.stage,
    framerFor(options),
    ...compressorFor(options),
    bindStage('sink', { to, ...(force && { force }) }),
  ]
  return runJob(stages, census, options)
}
