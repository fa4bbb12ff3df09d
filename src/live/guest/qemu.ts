/** Runs a pipeline with the guest of a stock QEMU, by QMP. The guest goes on in every case. */

import { randomUUID } from 'node:crypto'
import { asVmapipeError, VmapipeError } from '../../core/errors.ts'
import type { BoundStage, SurroundedRun } from '../../core/stage.ts'
import { refuseNames } from '../../formats/vma/names.ts'
import { namedConfigs } from '../../stages/cluster-source/config-files.ts'
import { clusterSource } from '../../stages/cluster-source.ts'
import { writeInterceptor } from '../../stages/write-interceptor.ts'
import type { DriveReader } from '../../storage/drive.ts'
import { openDriveReader } from '../../storage/open.ts'
import { tellPointInTime } from '../point-in-time.ts'
import type { Attachment } from '../qemu/attachment/attachment.ts'
import { Claim } from '../qemu/attachment/claim.ts'
import { detach } from '../qemu/attachment/detach.ts'
import { watchForMigration } from '../qemu/attachment/migration.ts'
import { watchForOverlays, withOverlay } from '../qemu/attachment/overlays.ts'
import { BitmapTracking } from '../qemu/bitmaps/tracking.ts'
import { QemuConnection } from '../qemu/connection.ts'
import { chooseDrives, type DriveWish } from '../qemu/inventory/choose-drives.ts'
import { discover, type QemuDrive } from '../qemu/inventory/discovery.ts'
import { describeMachine, machineConfig, type QemuMachine } from '../qemu/inventory/machine.ts'
import type { MonitorPlace } from '../qemu/monitor.ts'
import { PushBackup } from '../qemu/push-backup.ts'
import { PushServer } from '../qemu/push-server.ts'
import { RAM_NAME } from '../qemu/ram/ram-snapshot.ts'
import { socketOwner } from '../qemu/socket-owner.ts'
import { type WriteWatch, watchWrites } from '../qemu/watch-writes.ts'
import { attachmentFor } from './attachment-for.ts'
import type { GuestOptions } from './options.ts'
import type { GuestParts } from './parts.ts'
import { trackingWish } from './tracking.ts'

const LOOK_MS = 1000

interface Job<Result> {
  options: GuestOptions
  parts: GuestParts
  run: SurroundedRun<Result>
  connection: QemuConnection
  server: PushServer
  claim: Claim
  describe?: Describe | undefined
  writes: WriteWatch | null
}

type Configs = Record<string, string | Uint8Array<ArrayBuffer>>

/** Makes config files that say more of the guest than QMP tells. */
type Describe = (chosen: readonly QemuDrive[]) => Promise<Record<string, Uint8Array<ArrayBuffer>>>

export async function runWithQemu<Result>(
  options: GuestOptions,
  parts: GuestParts,
  run: SurroundedRun<Result>,
  describe?: Describe,
): Promise<Result> {
  const { signal, warn } = run
  const { qmp, libvirt, connect } = options
  const place: MonitorPlace = { qmp, shared: options['shared-monitor'], libvirt, connect }
  const connection = await QemuConnection.open(place, { signal, warn })
  let writes: WriteWatch | null = null
  try {
    const server = await PushServer.create({ parent: options['socket-dir'], owner: await socketOwner(place) })
    try {
      const claim = await Claim.take(connection.qmp, server.lifeSocket)
      try {
        const { listener } = options
        writes = listener?.writes ? watchWrites(connection.qmp, (times) => listener.writes?.(times)) : null
        return await claimed({ options, parts, run, connection, server, claim, describe, writes })
      } finally {
        writes?.stop()
        // As long as anything of ours may be in QEMU nobody else's turn begins. If QEMU cannot be reached any more,
        // the user has been told what is left there.
        if (!claim.isReleased) await connection.lastly((qmp) => claim.release(qmp)).catch(() => {})
      }
    } finally {
      await server.close()
    }
  } finally {
    connection.qmp.close()
  }
}

async function claimed<Result>(job: Job<Result>): Promise<Result> {
  const { options, connection, claim } = job
  const { qmp } = connection
  const { warn } = job.run
  const { removed, continued } = await detach(qmp, claim)
  if (removed.length > 0) warn(`a backup that was killed had left ${removed.join(', ')} in QEMU: removed`)
  if (continued) warn('the guest was paused by the backup that was killed; it runs again')
  const inventory = await discover(qmp)
  const drives = chooseDrives(inventory, wishes(options), options.exclude)
  if (options['with-ram'] && drives.some(({ name }) => name === RAM_NAME))
    throw new VmapipeError('USAGE', `a drive is called ${RAM_NAME}, as the memory of the guest is to be`)
  for (const { name, reason } of options.drives ? [] : inventory.leftOut) warn(`${name} ${reason}: left out`)
  const machine = await describeMachine(qmp, drives)
  const configs = withMachine(machine, options, await job.describe?.(drives))
  const beside = Object.keys(options.beside ?? {})
  const names = [...drives.map(({ name }) => name), ...(options['with-ram'] ? [RAM_NAME] : []), ...beside]
  refuseNames({ drives: names, configs: Object.keys(configs) })
  options.listener?.name?.(guestName(machine, options))
  return pushed(job, drives, configs)
}

/** Drives with the nodes that they are found by; none for all drives. */
function wishes({ drives }: GuestOptions): DriveWish[] | undefined {
  if (drives === undefined || Array.isArray(drives)) return drives?.map((name) => [name, ''])
  return Object.entries(drives).map(([name, node]) => [name, node ?? ''])
}

/** In the words of the log: "guest web01 (QEMU at /run/vm1.qmp)". */
function guestName({ name }: QemuMachine, { qmp, libvirt }: MonitorPlace): string {
  const place = qmp === undefined ? `libvirt domain ${libvirt}` : `QEMU at ${qmp}`
  return name === undefined || name === libvirt ? `guest of ${place}` : `guest ${name} (${place})`
}

/** What QMP tells of the machine goes in too, unless libvirt tells `more` in its place, or the user has a file of that name. */
function withMachine(machine: QemuMachine, options: GuestOptions, more: Configs = {}): Configs {
  const { name, data } = machineConfig(machine)
  return { [name]: data, ...more, ...(Object.fromEntries(namedConfigs(options.configs)) as Configs) }
}

async function pushed<Result>(job: Job<Result>, chosen: readonly QemuDrive[], configs: Configs): Promise<Result> {
  const { options, parts, run, connection, server } = job
  const { listener } = options
  const drives = chosen.map(({ name, node, size, qomPath }) => ({ name, node, size, device: qomPath }))
  const uuid = options.uuid ?? randomUUID()
  const archive = { names: drives.map(({ name }) => name), uuid: options.uuid === undefined ? uuid : null }
  const wish = trackingWish(options, parts.rest, archive)
  const tracking = wish && (await BitmapTracking.plan(connection.qmp, chosen, wish, run.warn))
  const { attachment, ...way } = await attachmentFor({
    ...{ qmp: connection.qmp, chosen, drives, server, tracking, options, parts, run },
  })
  const onPointInTime = (since: number) => tellPointInTime(run.inform, since)
  const backup = new PushBackup({
    drives,
    connection,
    attachment: underClaim(attachment, job),
    onPointInTime,
    reasons: tracking?.reasons,
    ...way,
  })
  await server.offer(backup.targets)
  const { ram } = backup
  if (ram !== null) await server.takeRam((connection) => ram.accept(connection))
  const watch = listener?.status && setInterval(() => listener.status?.(backup.status), LOOK_MS)
  // The memory comes by a migration of ours, and there is never more than one.
  const endWatch = ram === null ? watchForMigration(connection.qmp, (error) => backup.fail(error)) : null
  const endOverlays = watchForOverlays(connection.qmp, () => void backup.lookForOverlays().catch(() => {}))
  let done: { result: Result } | null = null
  let failure: VmapipeError | null = null
  try {
    const signals = [backup.signal, ...(run.signal === undefined ? [] : [run.signal])]
    const beside = await openBeside(options.beside, run.signal)
    done = { result: await run.run(stagesOf(backup, beside, { ...job, uuid }, configs), AbortSignal.any(signals)) }
    listener?.end?.(backup.status)
  } catch (error) {
    failure = asVmapipeError(error)
  } finally {
    clearInterval(watch)
    endWatch?.()
    endOverlays()
    const published = done !== null
    if (tracking !== null) await connection.lastly((qmp) => tracking.end(qmp, { published })).catch(() => {})
  }
  // Whatever became of the backup: otherwise the guest does not start again, and nobody knows why.
  if (backup.overlay !== null) throw withOverlay(failure, backup.overlay)
  if (done === null) throw failure
  return done.result
}

interface Stages {
  options: GuestOptions
  parts: GuestParts
  uuid: string
}

/** Another program may have these open, such as the one that keeps the state of a TPM. */
async function openBeside(
  places: Record<string, string> = {},
  signal?: AbortSignal,
): Promise<Record<string, DriveReader>> {
  const opened: Record<string, DriveReader> = {}
  try {
    for (const [name, place] of Object.entries(places))
      opened[name] = await openDriveReader(place, { ...(signal && { signal }), forceShare: true })
    return opened
  } catch (error) {
    for (const reader of Object.values(opened)) await reader.close()
    throw error
  }
}

function stagesOf(
  backup: PushBackup,
  beside: Record<string, DriveReader>,
  { options, parts, uuid }: Stages,
  configs: Configs,
): BoundStage[] {
  const { ctime } = options
  const identity = { uuid, ...(ctime !== undefined && { ctime }) }
  return [
    clusterSource({ drives: { ...backup.readers, ...beside }, configs, ...identity }),
    ...parts.between,
    backup.courtesy,
    writeInterceptor({ guest: backup.guest }),
    ...parts.rest,
  ]
}

/** With the last of ours in QEMU the claim goes, though the archive may still be written. */
function underClaim(attachment: Attachment, { claim, writes }: Pick<Job<unknown>, 'claim' | 'writes'>): Attachment {
  return {
    insert(qmp, events) {
      const insert = () => attachment.insert(qmp, events)
      return writes === null ? insert() : writes.without(insert)
    },
    changed: async (qmp) => (await attachment.changed?.(qmp)) ?? [],
    pull: () => attachment.pull(),
    async remove(qmp) {
      await attachment.remove(qmp)
      await claim.release(qmp)
    },
  }
}
