/** Which drive of an archive becomes which drive of a guest of Proxmox. */

import type { Machine, MachineDisk } from '../machine.ts'
import { archiveName, BUS_SLOTS, keyOfArchiveName } from './drives.ts'

export interface PlannedDrive {
  /** Its name in the archive that is read. */
  from: string
  /** Its key in Proxmox. */
  key: string
  /** Its name in the archive that is made. */
  name: string
  disk: MachineDisk | null
}

interface Wanted {
  drives: readonly string[]
  machine: Pick<Machine, 'disks' | 'firmware' | 'tpm'>
  /** Keys that no drive gets that is not known by them. */
  occupied?: readonly string[]
}

type Bus = keyof typeof BUS_SLOTS

/**
 * Gives each drive a key of its own: the one that its name says, or the next of its bus. What Proxmox has no bus for, and what there are
 * too many of, becomes a SCSI disk. `notes`: one line for each that changes its bus.
 */
export function planDrives({ drives, machine, occupied = [] }: Wanted): { planned: PlannedDrive[]; notes: string[] } {
  const disks = new Map(machine.disks.map((disk) => [disk.drive, disk]))
  const taken = new Map<string, string>()
  const notes: string[] = []
  const claim = (key: string, drive: string) => !taken.has(key) && Boolean(taken.set(key, drive))
  // Those whose place is known come first, so that no other drive takes it.
  const placed = drives.map((drive) => {
    const [known] = knownKeys(drive, machine, disks.get(drive)).filter((key) => claim(key, drive))
    return { drive, known }
  })
  for (const key of occupied) claim(key, '')
  const planned = placed.map(({ drive, known }) => {
    const disk = disks.get(drive) ?? null
    const key = known ?? freeKey(disk, (key) => claim(key, drive))
    const bus = disk?.bus
    if (bus !== undefined && known === undefined && !key.startsWith(bus))
      notes.push(`${drive} is a disk on ${bus}, and becomes ${key}: Proxmox has no such place for it`)
    if (disk === null && known === undefined) notes.push(`nothing is known of ${drive}: it becomes ${key}`)
    return { from: drive, key, name: archiveName(key), disk }
  })
  return { planned, notes }
}

function knownKeys(drive: string, { firmware, tpm }: Wanted['machine'], disk: MachineDisk | undefined): string[] {
  const isFlash = firmware?.variables === drive || (firmware?.kind === 'uefi' && /^drive-p?flash1$/.test(drive))
  if (isFlash) return ['efidisk0']
  if (tpm?.state === drive) return ['tpmstate0']
  const named = keyOfArchiveName(drive)
  const slots = disk && BUS_SLOTS[disk.bus as Bus]
  const own = slots !== undefined && disk?.unit !== undefined && disk.unit < slots ? `${disk.bus}${disk.unit}` : null
  // A name of Proxmox's says more than the place on a bus: each disk may have a controller of its own.
  return [named, own].flatMap((key) => (key === null ? [] : [key]))
}

function freeKey(disk: MachineDisk | null, claim: (key: string) => boolean): string {
  const own = disk !== null && Object.hasOwn(BUS_SLOTS, disk.bus) ? (disk.bus as Bus) : 'scsi'
  for (const bus of [own, 'scsi', 'virtio', 'sata', 'ide'] as const)
    for (let unit = 0; unit < BUS_SLOTS[bus]; unit++) if (claim(`${bus}${unit}`)) return `${bus}${unit}`
  return ''
}
