/** The disks of a guest as devices of QEMU. */

import type { Machine, MachineDisk } from '../machine.ts'
import { isQ35, type Note, serialOf, shown } from './values.ts'

/** An image beside the script. */
export interface ScriptImage {
  /** Name of the drive in the archive. */
  drive: string
  /** Name of the file. */
  file: string
  /** Bytes. */
  size: number
}

type Argument = [option: string, value: object]

/** Controllers of SCSI disks that QEMU has. Others become virtio-scsi. */
const SCSI = [
  'virtio-scsi-pci',
  'lsi53c895a',
  'lsi53c810',
  'megasas',
  'megasas-gen2',
  'pvscsi',
  'mptsas1068',
  'am53c974',
]
/** Disks of a controller: ports of AHCI, disks of the board's two IDE channels. */
const AHCI_PORTS = 6
const IDE_DISKS = 4

/** `-blockdev` and `-device` of every disk, and of the controllers that they need. */
export function diskArguments(
  { disks }: Pick<Machine, 'disks'>,
  images: readonly ScriptImage[],
  { board, note }: { board: string; note: Note },
): Argument[] {
  const controllers = new Map<string, Argument>()
  const numbers = new Map<string, number>()
  const next = (bus: string) => {
    const number = numbers.get(bus) ?? 0
    numbers.set(bus, number + 1)
    return number
  }
  const sorted = disks.toSorted((a, b) => (a.unit ?? 0) - (b.unit ?? 0))
  const found = sorted.flatMap((disk, index): Argument[] => {
    const image = images.find(({ drive }) => drive === disk.drive)
    if (image === undefined) {
      note(`the drive ${shown(disk.drive)} is not in the folder: left out`)
      return []
    }
    const device = deviceOf(disk, { board, note, next, controllers })
    if (device === null) return []
    const node = `disk${index}`
    const serial = serialOf(disk.serial, disk.drive, note)
    const { bootOrder, readOnly = false } = disk
    const file = { driver: 'file', filename: image.file, discard: 'unmap' }
    return [
      ['-blockdev', { 'node-name': node, driver: 'raw', 'read-only': readOnly, discard: 'unmap', file }],
      [
        '-device',
        {
          ...device,
          drive: node,
          ...(serial !== undefined && { serial }),
          ...(bootOrder !== undefined && { bootindex: bootOrder }),
        },
      ],
    ]
  })
  return [...controllers.values(), ...found]
}

interface Building {
  board: string
  note: Note
  /** The next number on the bus of this name. */
  next(bus: string): number
  controllers: Map<string, Argument>
}

function deviceOf(disk: MachineDisk, { board, note, next, controllers }: Building): Record<string, unknown> | null {
  const need = (id: string, driver: string) => controllers.set(id, ['-device', { driver, id }])
  switch (disk.bus) {
    case 'virtio':
      return { driver: 'virtio-blk-pci' }
    case 'scsi': {
      const known = SCSI.find((name) => name === disk.controller)
      if (
        known === undefined &&
        disk.controller !== undefined &&
        !/^(virtio-scsi|lsi$|lsilogic$)/.test(disk.controller)
      )
        note(`the controller ${shown(disk.controller)} is unknown: virtio-scsi-pci is used`)
      const driver = known ?? (/^lsi/.test(disk.controller ?? '') ? 'lsi53c895a' : 'virtio-scsi-pci')
      need(driver, driver)
      return { driver: 'scsi-hd', bus: `${driver}.0`, 'scsi-id': next(driver) }
    }
    case 'ide':
    case 'sata': {
      const number = next('ata')
      if (!isQ35(board) && disk.bus === 'ide' && number < IDE_DISKS)
        return { driver: 'ide-hd', bus: `ide.${number >> 1}`, unit: number & 1 }
      if (isQ35(board) && number < AHCI_PORTS) return { driver: 'ide-hd', bus: `ide.${number}` }
      const more = isQ35(board) ? number - AHCI_PORTS : number
      const id = `ahci${Math.floor(more / AHCI_PORTS)}`
      need(id, 'ahci')
      return { driver: 'ide-hd', bus: `${id}.${more % AHCI_PORTS}` }
    }
    case 'nvme':
      return { driver: 'nvme', serial: `nvme${next('nvme')}` }
    case 'usb':
      need('xhci', 'qemu-xhci')
      return { driver: 'usb-storage', bus: 'xhci.0' }
    case 'other':
      note(`nothing is known of the bus of ${shown(disk.drive)}: it is a virtio disk`)
      return { driver: 'virtio-blk-pci' }
    default:
      note(`the drive ${shown(disk.drive)} is on the bus ${disk.bus}, which is not supported: left out`)
      return null
  }
}
