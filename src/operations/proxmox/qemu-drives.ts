/** Matches the drives that a running guest has by its config with those that its QEMU has. */

import { VmapipeError } from '../../core/errors.ts'
import type { Inventory, QemuDrive } from '../../live/qemu/inventory/discovery.ts'
import type { ProxmoxDrive } from '../../machine/proxmox/drives.ts'
import type { ProxmoxGuest } from './guest.ts'

interface Matched {
  /** By the name in the archive: the name by which the drive is found in QEMU. */
  names: Record<string, string>
  /** Format of each image, by the key of the drive. */
  formats: Map<string, string>
}

/** Throws FAILED for a drive of the config that QEMU does not have. Those that only QEMU has are told by `warn`. */
export function matchDrives(
  drives: readonly ProxmoxDrive[],
  { vmid, leftOut }: Pick<ProxmoxGuest, 'vmid' | 'leftOut'>,
  inventory: Inventory,
  warn: (message: string) => void,
): Matched {
  const all = [...inventory.drives, ...inventory.leftOut.flatMap(({ drive }) => drive ?? [])]
  const found = drives.map((drive) => ({ drive, qemu: all.find((one) => isSame(one, drive)) }))
  const missing = found.filter(({ qemu }) => qemu === undefined).map(({ drive }) => drive.key)
  if (missing.length > 0) {
    const [what, them] = missing.length === 1 ? ['drive', 'it'] : ['drives', 'them']
    throw new VmapipeError('FAILED', `guest ${vmid} runs without the ${what} ${missing.join(', ')} of its config`, {
      hint: `start it anew so that it gets ${them}, or leave ${them} out: ${missing.map((key) => `--exclude ${key}`).join(' ')}`,
    })
  }
  const known = [...drives, ...leftOut.map(({ drive }) => drive)]
  for (const qemu of inventory.drives) {
    if (known.some((drive) => isSame(qemu, drive))) continue
    warn(`${qemu.name} is in QEMU, but not in the config of guest ${vmid}: left out, as Proxmox could not restore it`)
  }
  return {
    names: Object.fromEntries(found.map(({ drive, qemu }) => [drive.archiveName, qemu!.name])),
    formats: new Map(found.map(({ drive, qemu }) => [drive.key, qemu!.format])),
  }
}

/** By the device's id, or the names that Proxmox's versions give to what is below it. */
function isSame({ id, name, backend, node }: QemuDrive, { key, archiveName }: ProxmoxDrive): boolean {
  return id === key || [name, backend, node].includes(archiveName)
}
