/** The guest of an archive, for a boot: what its config files say, or else what the names of its drives and its partitions tell. */

import type { Archive } from '../../access/archive.ts'
import type { DriveInfo } from '../../core/items.ts'
import { machineIn } from '../../machine/known.ts'
import type { Machine, MachineDisk } from '../../machine/machine.ts'
import { partitionsOf } from '../partitions.ts'

/** What is not known of a guest, or is to be otherwise. */
export interface MachineChoices {
  /** Instead of what the archive tells, or if it tells nothing. */
  firmware?: 'bios' | 'uefi'
  /** The bus of drives of which the archive tells nothing; virtio unless given. */
  bus?: 'ide' | 'sata' | 'scsi' | 'virtio' | 'nvme' | 'usb'
}

/** Names of Proxmox. The first two are no disks. */
const VARIABLES = /^drive-efidisk\d$/
const TPM = /^drive-tpmstate\d$/
const DISK = /^drive-(scsi|virtio|ide|sata)(\d{1,2})$/

/** GUIDs of GPT: a system partition of UEFI, and the place of a boot loader for a BIOS. */
const ESP = 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b'
const BIOS_BOOT = '21686148-6449-6e6f-744e-656564454649'

/** Errors: DAMAGED for a description that makes no sense. */
export async function guestMachine(archive: Archive, { firmware, bus = 'virtio' }: MachineChoices): Promise<Machine> {
  const { configs, drives } = archive.manifest
  const told = await machineIn(configs)
  const machine = told ?? byNames(drives, bus)
  const kind = firmware ?? machine.firmware?.kind ?? (await firmwareOf(archive, drives))
  return { ...machine, firmware: { ...machine.firmware, kind } }
}

function byNames(drives: readonly DriveInfo[], bus: MachineDisk['bus']): Machine {
  const variables = drives.find(({ name }) => VARIABLES.test(name))?.name
  const disks = drives
    .filter(({ name }) => !VARIABLES.test(name) && !TPM.test(name))
    .map(({ name }, index): MachineDisk => {
      const [, kind, unit] = DISK.exec(name) ?? []
      return kind === undefined
        ? { drive: name, bus, unit: index }
        : { drive: name, bus: kind as MachineDisk['bus'], unit: Number(unit) }
    })
  return {
    version: 1,
    from: 'serve',
    disks,
    ...(variables !== undefined && { firmware: { kind: 'uefi' as const, variables } }),
  }
}

/** UEFI if a drive has its system partition and no place for a loader of a BIOS. */
async function firmwareOf(archive: Archive, drives: readonly DriveInfo[]): Promise<'bios' | 'uefi'> {
  for (const { name } of drives) {
    const { partitions } = await partitionsOf(archive.drive(name)).catch(() => ({ partitions: [] }))
    const types = partitions.map(({ type }) => type.toLowerCase())
    if (types.includes(ESP) && !types.includes(BIOS_BOOT)) return 'uefi'
    if (types.length > 0) return 'bios'
  }
  return 'bios'
}
