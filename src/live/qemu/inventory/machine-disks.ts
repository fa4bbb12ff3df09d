/** The disks of a machine of QEMU: on which bus, behind which controller, in which order. */

import type { MachineDisk } from '../../../machine/machine.ts'
import { isCount } from '../../../protocol/json.ts'
import type { QemuDrive } from './discovery.ts'
import { type Monitor, qomGet, qomText } from './qom.ts'

type Bus = MachineDisk['bus']

/** The device that a part or a bus belongs to: `/machine/peripheral/sc/virtio-backend/sc.0` is the bus of the device `sc`. */
const DEVICE = /^\/machine\/(?:peripheral|peripheral-anon|unattached)\/[^/]+/

/** A disk, and the numbers by which it is ordered on its bus. */
interface Placed {
  disk: MachineDisk
  place: number[]
  /** A number that the owner gave it by its id, as Proxmox does: scsi2. */
  named: number | undefined
}

/** Of the drives of an archive. Flash is no disk. */
export async function describeDisks(monitor: Monitor, drives: readonly QemuDrive[]): Promise<MachineDisk[]> {
  const found = await Promise.all(drives.filter(({ type }) => !isFlash(type)).map((drive) => place(monitor, drive)))
  return [...Map.groupBy(found, ({ disk }) => disk.bus).values()].flatMap(numbered)
}

export function isFlash(type: string): boolean {
  return type.startsWith('cfi.pflash')
}

/** Numbers of a bus: those of the ids, if all of its disks have one; otherwise by their order on it. */
function numbered(disks: readonly Placed[]): MachineDisk[] {
  const names = new Set(disks.map(({ named }) => named))
  const byName = !names.has(undefined) && names.size === disks.length
  return [...disks]
    .sort((a, b) => compare(a.place, b.place))
    .map(({ disk, named }, index) => ({ ...disk, unit: byName ? named! : index }))
}

async function place(monitor: Monitor, drive: QemuDrive): Promise<Placed> {
  const { name, id, type, format, size, readOnly, iothread } = drive
  const path = DEVICE.exec(drive.qomPath)?.[0] ?? drive.qomPath
  const parent = await qomText(monitor, path, 'parent_bus')
  const above = parent === undefined ? undefined : DEVICE.exec(parent)?.[0]
  const [controller, serial, bootindex, addr, scsiId, lun, unit] = await Promise.all([
    above === undefined ? undefined : qomText(monitor, above, 'type'),
    serialOf(monitor, [drive.qomPath, path]),
    numberAt(monitor, [drive.qomPath, path], 'bootindex'),
    // A namespace of NVMe is where its controller is.
    numberAt(monitor, above === undefined ? [path] : [path, above], 'addr'),
    numberAt(monitor, [path], 'scsi-id'),
    numberAt(monitor, [path], 'lun'),
    numberAt(monitor, [path], 'unit'),
  ])
  const bus = busOf(type, controller)
  const ownBus = Number(/\.(\d+)$/.exec(parent ?? '')?.[1] ?? 0)
  return {
    disk: {
      drive: name,
      bus,
      format,
      ...(bus === 'scsi' && controller !== undefined && { controller }),
      ...(serial !== undefined && { serial: serial.slice(0, 255) }),
      ...(bootindex !== undefined && { bootOrder: bootindex }),
      ...(readOnly && { readOnly }),
      size,
      device: type,
      ...(iothread !== null && { iothread }),
    },
    place:
      bus === 'scsi'
        ? [scsiId ?? 0, lun ?? 0]
        : bus === 'virtio' || bus === 'nvme'
          ? [addr ?? 0]
          : [ownBus, unit ?? addr ?? 0],
    named: numberIn(id, bus),
  }
}

function busOf(type: string, controller: string | undefined): Bus {
  if (type.startsWith('virtio-blk')) return 'virtio'
  if (type.startsWith('scsi-')) return 'scsi'
  if (type.startsWith('ide-')) return /ahci/.test(controller ?? '') ? 'sata' : 'ide'
  if (type === 'nvme' || type === 'nvme-ns') return 'nvme'
  if (type === 'usb-storage' || type === 'usb-bot' || type === 'usb-uas') return 'usb'
  if (type === 'sd-card') return 'sd'
  return type === 'floppy' ? 'floppy' : 'other'
}

function numberIn(id: string | null, bus: Bus): number | undefined {
  const [, name, number] = /^([a-z]+)(\d{1,3})$/.exec(id ?? '') ?? []
  return name === bus ? Number(number) : undefined
}

async function serialOf(monitor: Monitor, paths: readonly string[]): Promise<string | undefined> {
  for (const path of new Set(paths)) {
    const serial = await qomText(monitor, path, 'serial')
    if (serial !== undefined) return serial
  }
  return undefined
}

async function numberAt(monitor: Monitor, paths: readonly string[], property: string): Promise<number | undefined> {
  for (const path of new Set(paths)) {
    const value = await qomGet(monitor, path, property)
    if (isCount(value) && value <= 1 << 20) return value
  }
  return undefined
}

function compare(a: readonly number[], b: readonly number[]): number {
  return a.map((value, index) => value - (b[index] ?? 0)).find((difference) => difference !== 0) ?? 0
}
