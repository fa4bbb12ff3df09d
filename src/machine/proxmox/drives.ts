/** The drives of a guest of Proxmox by its config, and which of them a backup of Proxmox's own would leave out. */

import type { ProxmoxConfig } from './config.ts'
import { isOff, type Properties, parseProperties } from './properties.ts'

export interface ProxmoxDrive {
  /** Its key in the config: `scsi0`, `efidisk0`. */
  key: string
  /** Its name in an archive. */
  archiveName: string
  /** `local-lvm:vm-100-disk-0`, or a path of the host. */
  volume: string
  properties: Properties['named']
  /** Why it is no part of a backup; null if it is. */
  leftOut: string | null
}

/** How many drives of each bus Proxmox has. */
export const BUS_SLOTS = { ide: 4, sata: 6, scsi: 31, virtio: 16 } as const
const KEY = /^(ide|sata|scsi|virtio|efidisk|tpmstate)(0|[1-9]\d?)$/
const CLOUD_INIT = /(^|[:/])vm-\d+-cloudinit(\.(raw|qcow2))?$/

/** Whether this is the key of a drive that Proxmox knows. */
export function isDriveKey(key: string): boolean {
  const [, bus, number] = KEY.exec(key) ?? []
  if (bus === undefined) return false
  return Number(number) < (BUS_SLOTS[bus as keyof typeof BUS_SLOTS] ?? 1)
}

/** Names of drives in Proxmox's archives. The state of a TPM is a drive of QEMU only while it is backed up, and is called so. */
export function archiveName(key: string): string {
  return key === 'tpmstate0' ? 'drive-tpmstate0-backup' : `drive-${key}`
}

/** The key of the drive of this name in an archive; null if it is none of Proxmox's. */
export function keyOfArchiveName(name: string): string | null {
  const [, key] = /^drive-(.+?)(?:-backup)?$/.exec(name) ?? []
  return key !== undefined && isDriveKey(key) && archiveName(key) === name ? key : null
}

/** In the order of their keys. */
export function drivesOf({ values }: ProxmoxConfig): ProxmoxDrive[] {
  const hasUefi = values.get('bios') === 'ovmf'
  const drives = [...values].flatMap(([key, value]) => {
    if (!isDriveKey(key)) return []
    const { plain, named } = parseProperties(value)
    const volume = plain ?? named.get('file') ?? ''
    const leftOut = whyLeftOut(key, volume, named, hasUefi)
    return [{ key, archiveName: archiveName(key), volume, properties: named, leftOut }]
  })
  return drives.sort((a, b) => a.key.localeCompare(b.key, 'en', { numeric: true }))
}

function whyLeftOut(key: string, volume: string, named: Properties['named'], hasUefi: boolean): string | null {
  if (CLOUD_INIT.test(volume)) return 'is a cloud-init drive, which Proxmox makes anew'
  if (named.get('media') === 'cdrom' || volume === 'cdrom' || volume === 'none') return 'is a CD-ROM'
  if (isOff(named.get('backup'))) return 'has backup=0 in the config'
  if (key === 'efidisk0' && !hasUefi) return 'is not used: the config has no bios: ovmf'
  return null
}
