/** Which drives the guest of a QEMU has (7.2 and later), and which of them a backup is about. Nothing is changed. */

import { objectsOf, textOf } from '../../../protocol/json.ts'
import { type BlockInfo, type Inserted, parseBlockInfos } from './block-info.ts'
import { distinctNames } from './drive-names.ts'
import { type Monitor, qomChildren, qomGet, qomText } from './qom.ts'

type Media = 'disk' | 'cdrom' | 'floppy'

/** A drive of a guest of QEMU. */
export interface QemuDrive extends Inserted {
  /** Its name in an archive, unless the user says otherwise: drive-scsi0. */
  name: string
  /** The device's id; null if the command line gave it none. */
  id: string | null
  /** Name of the block backend (`-drive id=…`), or empty. */
  backend: string
  /** The object whose `drive` property says which node is used. */
  qomPath: string
  /** QOM type of the device: virtio-blk-pci, scsi-hd, ide-hd, nvme, usb-storage, cfi.pflash01, … */
  type: string
  media: Media
  /** share-rw=on: others than this guest may write to it. */
  shared: boolean
  /** The iothread that does its I/O, or that of its controller; several are joined by commas; null: the main loop. */
  iothread: string | null
}

interface LeftOut {
  name: string
  /** Goes after the name: "is a CD-ROM". */
  reason: string
  /** The drive, if it can be backed up all the same when the user asks for it by name. */
  drive: QemuDrive | null
}

/** The drives of a guest. */
export interface Inventory {
  drives: QemuDrive[]
  leftOut: LeftOut[]
}

interface Device {
  id: string | null
  qomPath: string | null
  type: string
  shared: boolean
  iothread: string | null
}

const NO_DEVICE: Device = { id: null, qomPath: null, type: '', shared: false, iothread: null }

/** Devices with disks that QEMU's block layer never sees. */
const UNSEEN = /^(vhost-user-blk|vhost-user-scsi|vhost-scsi|vdpa-blk|vfio-pci$)/

export async function discover(monitor: Monitor): Promise<Inventory> {
  const blocks = parseBlockInfos(await monitor.execute('query-block'))
  const devices = await Promise.all(blocks.map(({ qdev }) => (qdev === null ? NO_DEVICE : findDevice(monitor, qdev))))
  const names = distinctNames(
    blocks.map(({ backend, inserted }, i) => ({ ...devices[i], backend, node: inserted?.node ?? null })),
  )
  const inventory: Inventory = { drives: [], leftOut: await unseen(monitor) }
  for (const [i, name] of names.entries()) sort(inventory, name, blocks[i], devices[i])
  inventory.drives.sort(byName)
  inventory.leftOut.sort(byName)
  return inventory
}

async function findDevice(monitor: Monitor, qdev: string): Promise<Device> {
  const qomPath = qdev.includes('/') ? qdev : `/machine/peripheral/${qdev}`
  // The property may be that of a part of the device: …/virtio0/virtio-backend, …/usb0/usb0.0/legacy[0]
  const [devicePath] = /^\/machine\/(peripheral|peripheral-anon|unattached)\/[^/]+/.exec(qomPath) ?? [qomPath]
  const [, id = null] = /^\/machine\/peripheral\/([^/]+)/.exec(qomPath) ?? []
  const [type, shared, bus] = await Promise.all([
    qomText(monitor, devicePath, 'type'),
    qomGet(monitor, qomPath, 'share-rw'),
    qomText(monitor, qomPath, 'parent_bus'),
  ])
  const controller = bus?.replace(/\/[^/]*$/, '')
  const [own, above] = await Promise.all([
    findIothread(monitor, qomPath),
    controller === undefined ? null : findIothread(monitor, controller),
  ])
  return { id, qomPath, type: type ?? 'unknown', shared: shared === true, iothread: own ?? above }
}

async function findIothread(monitor: Monitor, path: string): Promise<string | null> {
  const [one, mapping] = await Promise.all([
    qomText(monitor, path, 'iothread'),
    // From QEMU 9.0 on: each queue may have another.
    qomGet(monitor, path, 'iothread-vq-mapping'),
  ])
  if (one !== undefined) return one.replace(/^\/objects\//, '')
  const several = objectsOf(mapping).flatMap(({ iothread }) => textOf(iothread) ?? [])
  return several.length > 0 ? several.join(',') : null
}

function sort({ drives, leftOut }: Inventory, name: string, { backend, inserted }: BlockInfo, device: Device): void {
  const { qomPath, type } = device
  if (qomPath === null) {
    leftOut.push({ name, reason: 'belongs to no device of the guest', drive: null })
    return
  }
  const media = mediaOf(type)
  if (inserted === null) {
    leftOut.push({ name, reason: media === 'disk' ? 'is empty' : `is an empty ${KINDS[media]} drive`, drive: null })
    return
  }
  if (/^scsi-(block|generic)$/.test(type)) {
    const reason = `is a ${type}: what the guest writes goes past QEMU's block layer`
    leftOut.push({ name, reason, drive: null })
    return
  }
  const drive: QemuDrive = { ...inserted, ...device, qomPath, name, backend, media }
  if (media !== 'disk') leftOut.push({ name, reason: `is a ${KINDS[media]}`, drive })
  else if (drive.readOnly) leftOut.push({ name, reason: 'is read-only', drive })
  else drives.push(drive)
}

const KINDS = { cdrom: 'CD-ROM', floppy: 'floppy disk' }

function mediaOf(type: string): Media {
  if (/^(ide-cd|scsi-cd)$/.test(type)) return 'cdrom'
  return type === 'floppy' ? 'floppy' : 'disk'
}

async function unseen(monitor: Monitor): Promise<LeftOut[]> {
  const lists = await Promise.all(
    ['/machine/peripheral', '/machine/peripheral-anon'].map((path) => qomChildren(monitor, path)),
  )
  return lists
    .flat()
    .filter(({ type }) => UNSEEN.test(type))
    .map(({ name, type }) => ({ name, reason: `is a ${type}: its disks, if any, are not QEMU's to read`, drive: null }))
}

function byName(a: { name: string }, b: { name: string }): number {
  return a.name.localeCompare(b.name, 'en', { numeric: true })
}
