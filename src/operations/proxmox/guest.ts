/** A guest of Proxmox as its config describes it, and which of its drives are backed up. */

import { stat } from 'node:fs/promises'
import { VmapipeError } from '../../core/errors.ts'
import { MAX_CONFIG_SIZE } from '../../formats/vma/header.ts'
import { type ProxmoxConfig, parseProxmoxConfig, refuseVmid } from '../../machine/proxmox/config.ts'
import { drivesOf, type ProxmoxDrive } from '../../machine/proxmox/drives.ts'
import { readSmallFile } from '../../storage/config-file.ts'
import type { BackupProxmoxOptions } from './options.ts'
import { placesOf } from './places.ts'

export interface ProxmoxGuest {
  vmid: number
  config: ProxmoxConfig
  /** It is the config that the host itself has: only root can change it. */
  isTrusted: boolean
  name: string | null
  wanted: ProxmoxDrive[]
  /** Drives that are not backed up, each with the reason. */
  leftOut: { drive: ProxmoxDrive; reason: string }[]
}

/** Throws FAILED if the host does not have this guest, or it is locked; USAGE for drives that it does not have. */
export async function readGuest({
  vmid,
  config: given,
  exclude = [],
  drives = {},
}: BackupProxmoxOptions): Promise<ProxmoxGuest> {
  refuseVmid(vmid)
  const file = given ?? placesOf(vmid).config
  if (given === undefined && !(await exists(file))) throw await noSuchGuest(vmid, file)
  const data = await readSmallFile(file, MAX_CONFIG_SIZE)
  if (data.length > MAX_CONFIG_SIZE)
    throw new VmapipeError('USAGE', 'this is no config of a guest of Proxmox: it is too long', { file })
  const config = parseProxmoxConfig(data, file)
  if (![...config.values.keys()].some((key) => KEYS.test(key))) {
    throw new VmapipeError(
      'USAGE',
      'this is no config of a guest of Proxmox: it names no drive, no memory and no processor',
      {
        file,
      },
    )
  }
  const lock = config.values.get('lock')
  if (lock !== undefined) {
    throw new VmapipeError('FAILED', `guest ${vmid} is locked (${lock}): another task of Proxmox works on it`, {
      hint: `wait for that task; if there is none any more: qm unlock ${vmid}`,
    })
  }
  const all = drivesOf(config)
  const excluded = exclude.map((name) => driveOf(name, all, vmid).key)
  for (const name of Object.keys(drives)) driveOf(name, all, vmid)
  const reasonFor = (drive: ProxmoxDrive) => (excluded.includes(drive.key) ? 'is excluded' : drive.leftOut)
  return {
    vmid,
    config,
    isTrusted: given === undefined,
    name: config.values.get('name') ?? null,
    wanted: all.filter((drive) => reasonFor(drive) === null),
    leftOut: all.flatMap((drive) => {
      const reason = reasonFor(drive)
      return reason === null ? [] : [{ drive, reason }]
    }),
  }
}

/** Without any of these it is another kind of file. */
const KEYS = /^(memory|cores|sockets|name|ostype|boot|scsihw|net\d+|(ide|sata|scsi|virtio)\d+)$/

/** The drive of this key, or of this name in an archive. */
export function driveOf(name: string, all: readonly ProxmoxDrive[], vmid: number): ProxmoxDrive {
  const found = all.find((drive) => drive.key === name || drive.archiveName === name)
  if (found !== undefined) return found
  throw new VmapipeError('USAGE', `guest ${vmid} has no drive '${name}'`, {
    hint: all.length === 0 ? undefined : `it has ${all.map(({ key }) => key).join(', ')}`,
  })
}

async function noSuchGuest(vmid: number, file: string): Promise<VmapipeError> {
  if (!(await exists('/etc/pve'))) {
    return new VmapipeError('FAILED', 'this is no host of Proxmox: there is no /etc/pve', {
      file,
      hint: 'name a config of a guest by --proxmox-config FILE',
    })
  }
  return new VmapipeError('FAILED', `this host has no guest ${vmid}`, {
    file,
    hint: 'a guest is backed up on the node that it is on: qm list shows those of this one',
  })
}

export async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null)) !== null
}
