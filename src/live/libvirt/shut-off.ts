/** The drives of a guest of libvirt that is shut off, and the pipeline that reads them. */

import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { VmapipeError } from '../../core/errors.ts'
import type { BoundStage } from '../../core/stage.ts'
import { refuseNames } from '../../formats/vma/names.ts'
import { type Domain, type DomainDisk, VARIABLES_DRIVE } from '../../machine/libvirt/domain.ts'
import { attribute, content } from '../../machine/libvirt/xml.ts'
import type { Virsh } from '../../protocol/libvirt/virsh.ts'
import { clusterSource } from '../../stages/cluster-source.ts'
import type { DriveReader } from '../../storage/drive.ts'
import type { GuestOptions } from '../guest/options.ts'
import type { GuestParts } from '../guest/parts.ts'
import { openDomainDisk, openLocal } from './open-disk.ts'

/** Where the libvirt of the system has the variables of UEFI by default. */
const VARIABLES = '/var/lib/libvirt/qemu/nvram'

interface ShutOffDrives {
  /** By the name of the drive in the archive. */
  readers: Record<string, DriveReader>
  /** Names of the drives by the targets of their disks. */
  byTarget: ReadonlyMap<string, string>
  hasVariables: boolean
}

interface Opening {
  virsh: Virsh
  signal?: AbortSignal | undefined
  inform(message: string): void
  warn(message: string): void
}

/** Opens and locks all drives: no guest starts on an image that is read. If it fails, nothing is left open. */
export async function shutOffDrives(domain: Domain, options: GuestOptions, opening: Opening): Promise<ShutOffDrives> {
  const chosen = chosenDisks(domain, options, opening.warn)
  const readers: Record<string, DriveReader> = {}
  try {
    for (const { name, disk } of chosen) readers[name] = await openDomainDisk(disk, opening)
    const isWanted = options.drives === undefined && !options.exclude.includes(VARIABLES_DRIVE)
    const variables = isWanted ? await openVariables(domain, opening) : null
    if (variables !== null) readers[VARIABLES_DRIVE] = variables
    const byTarget = new Map(chosen.map(({ name, disk }) => [disk.target, name]))
    return { readers, byTarget, hasVariables: variables !== null }
  } catch (error) {
    for (const reader of Object.values(readers)) await reader.close()
    throw error
  }
}

interface Parts {
  configs: Record<string, Uint8Array<ArrayBuffer>>
  options: GuestOptions
  parts: GuestParts
}

/** The pipeline of a backup of drives that nobody writes to. */
export function shutOffStages({ readers }: ShutOffDrives, { configs, options, parts }: Parts): BoundStage[] {
  const { uuid, ctime } = options
  refuseNames({ drives: Object.keys(readers), configs: Object.keys(configs) })
  const identity = { ...(uuid !== undefined && { uuid }), ...(ctime !== undefined && { ctime }) }
  return [clusterSource({ drives: readers, configs, ...identity }), ...parts.between, ...parts.rest]
}

interface Chosen {
  name: string
  disk: DomainDisk
}

/** The disks that the user wants, with their names in the archive. Throws USAGE for names that the domain does not have. */
function chosenDisks({ disks }: Domain, { drives, exclude }: GuestOptions, warn: (message: string) => void): Chosen[] {
  const find = (wanted: string) => {
    const disk = disks.find(({ drive, target }) => drive === wanted || target === wanted)
    if (disk !== undefined) return disk
    if (wanted === VARIABLES_DRIVE) return null
    const hint = `it has ${disks.map(({ drive, target }) => `${drive} (${target})`).join(', ') || 'none'}`
    throw new VmapipeError('USAGE', `the guest has no drive '${wanted}'`, { hint })
  }
  const excluded = exclude.map(find)
  const wishes =
    drives === undefined
      ? null
      : Array.isArray(drives)
        ? drives.map((name) => [name, name] as const)
        : Object.entries(drives)
  const wanted =
    wishes?.flatMap(([name, place]) => {
      const disk = find(place || name)
      return disk === null ? [] : [{ name: Array.isArray(drives) || !place ? disk.drive : name, disk }]
    }) ??
    disks
      .filter((disk) => isBackedUp(disk, exclude.length > 0 && excluded.includes(disk), warn))
      .map((disk) => ({ name: disk.drive, disk }))
  const left = wanted.filter(({ disk }) => !excluded.includes(disk))
  if (left.length > 0) return left
  if (wanted.length > 0 || exclude.length > 0) throw new VmapipeError('USAGE', 'every drive of the guest is left out')
  throw new VmapipeError('FAILED', 'the guest has no drive to back up')
}

function isBackedUp(
  { device, drive, isTransient, isReadOnly }: DomainDisk,
  isExcluded: boolean,
  warn: (message: string) => void,
): boolean {
  const reason =
    device === 'cdrom'
      ? 'is a CD-ROM'
      : device === 'floppy'
        ? 'is a floppy disk'
        : device === 'lun'
          ? "is a device of the host that is passed through: what the guest writes goes past QEMU's block layer"
          : isTransient
            ? 'is transient: what the guest writes to it is dropped when it ends'
            : isReadOnly
              ? 'is read-only'
              : null
  if (reason !== null && !isExcluded) warn(`${drive} ${reason}: left out`)
  return reason === null
}

/** The variables of UEFI; null if there are none yet: libvirt makes them at the first start. */
async function openVariables({ nvram, name, isUefi }: Domain, opening: Opening): Promise<DriveReader | null> {
  if (!isUefi) return null
  const type = attribute(nvram, 'type') ?? 'file'
  // libvirt does not note the place in the definition if it has chosen the firmware.
  const path = nvram === undefined ? join(VARIABLES, `${name}_VARS.fd`) : content(nvram)
  if (type !== 'file' || path === undefined) {
    opening.warn(`the variables of UEFI are left out: their place is of the kind '${type}'`)
    return null
  }
  if ((await stat(path).catch(() => null)) === null) {
    opening.warn(`the variables of UEFI are left out: there is no file '${path}' yet`)
    return null
  }
  return openLocal(path, { format: attribute(nvram, 'format') ?? 'raw', target: 'nvram', store: undefined }, opening)
}
